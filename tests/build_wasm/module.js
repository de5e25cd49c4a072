// A module in node, and PNG files as bytes: what the programs of this folder share.
'use strict';
const fs = require('fs');
const zlib = require('zlib');

// An instance that is started; `started` false: not yet.
function open(path, started = true) {
    const module = new WebAssembly.Module(fs.readFileSync(path));
    const wants = WebAssembly.Module.imports(module);
    if (wants.length) throw new Error('it imports ' + JSON.stringify(wants));
    const f = new WebAssembly.Instance(module, {}).exports;
    const m = {
        f,
        bytes: (at, n) => new Uint8Array(f.memory.buffer, at, n),
        text: (at) => {
            const b = m.bytes(at);
            return Buffer.from(b.subarray(0, b.indexOf(0))).toString();
        },
        // The status and, if it is 0, the probabilities.
        classify: (image, anySize = 0) => {
            const at = f.pixels(image.height, image.width, image.channels);
            if (!at) return { status: -1 };
            m.bytes(at, image.data.length).set(image.data);
            return m.answer(f.classify(anySize));
        },
        answer: (status) => status ? { status } : { status,
            p: new Float64Array(f.memory.buffer, f.probabilities(), m.info.classes.length).slice() },
        error: () => m.text(f.error()),
        seen: () => m.bytes(f.seen(), m.info.channels * m.info.height * m.info.width).slice(),
    };
    m.info = JSON.parse(m.text(f.info()));
    if (started && f.start() !== 0) throw new Error(m.error());
    return m;
}

// ---- PNG ---------------------------------------------------------------------------------------

const CHANNELS = { 0: 1, 2: 3, 6: 4 };

function paeth(a, b, c) {
    const p = a + b - c, x = Math.abs(p - a), y = Math.abs(p - b), z = Math.abs(p - c);
    return x <= y && x <= z ? a : y <= z ? b : c;
}

// Of 8 bits, not interlaced.
function readPng(path) {
    const file = fs.readFileSync(path), data = [];
    let head = null;
    for (let at = 8; at < file.length; at += 12 + file.readUInt32BE(at)) {
        const n = file.readUInt32BE(at), kind = file.toString('latin1', at + 4, at + 8);
        if (kind === 'IHDR') head = file.subarray(at + 8, at + 8 + n);
        if (kind === 'IDAT') data.push(file.subarray(at + 8, at + 8 + n));
    }
    const width = head.readUInt32BE(0), height = head.readUInt32BE(4), channels = CHANNELS[head[9]];
    if (head[8] !== 8 || !channels || head[12]) throw new Error(path + ': another kind of PNG');
    const raw = zlib.inflateSync(Buffer.concat(data)), row = width * channels;
    const out = new Uint8Array(height * row);
    for (let y = 0; y < height; y++) {
        for (let x = 0; x < row; x++) {
            const left = x < channels ? 0 : out[y * row + x - channels];
            const up = y ? out[(y - 1) * row + x] : 0;
            const corner = y && x >= channels ? out[(y - 1) * row + x - channels] : 0;
            const add = [0, left, up, (left + up) >> 1, paeth(left, up, corner)][raw[y * (row + 1)]];
            out[y * row + x] = raw[y * (row + 1) + 1 + x] + add;
        }
    }
    return { width, height, channels, data: out };
}

function chunk(kind, data) {
    const body = Buffer.concat([Buffer.from(kind, 'latin1'), data]);
    const out = Buffer.alloc(body.length + 8);
    out.writeUInt32BE(data.length, 0);
    body.copy(out, 4);
    out.writeUInt32BE(crc(body), body.length + 4);
    return out;
}

function crc(bytes) {
    let c = 0xffffffff;
    for (const b of bytes) {
        c ^= b;
        for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1;
    }
    return (c ^ 0xffffffff) >>> 0;
}

function writePng(path, image) {
    const { width, height, channels, data } = image, row = width * channels;
    const raw = Buffer.alloc(height * (row + 1));
    for (let y = 0; y < height; y++) raw.set(data.subarray(y * row, (y + 1) * row), y * (row + 1) + 1);
    const head = Buffer.alloc(13);
    head.writeUInt32BE(width, 0);
    head.writeUInt32BE(height, 4);
    head[8] = 8;
    head[9] = { 1: 0, 3: 2, 4: 6 }[channels];
    fs.writeFileSync(path, Buffer.concat([
        Buffer.from([0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10]), chunk('IHDR', head),
        chunk('IDAT', zlib.deflateSync(raw)), chunk('IEND', Buffer.alloc(0))]));
}

// Blots of random sizes on random grounds, the same in every run: something between noise and
// pictures.
function blots(seed, width, height, channels) {
    let s = (seed * 2654435761 + 12345) >>> 0;
    const draw = (n) => {
        s = (Math.imul(s, 1664525) + 1013904223) >>> 0;
        return Math.floor((s / 4294967296) * n);
    };
    const data = new Uint8Array(width * height * channels);
    const ground = draw(256);
    data.fill(ground);
    for (let k = 0; k < 6; k++) {
        const x0 = draw(width), y0 = draw(height), r = 1 + draw(Math.max(width, height) / 3);
        const ink = [draw(256), draw(256), draw(256), 255];
        for (let y = 0; y < height; y++) {
            for (let x = 0; x < width; x++) {
                if ((x - x0) ** 2 + (y - y0) ** 2 > r * r) continue;
                for (let c = 0; c < channels; c++) {
                    data[(y * width + x) * channels + c] = ink[c] - (c < 3 ? draw(20) : 0);
                }
            }
        }
    }
    return { width, height, channels, data };
}

module.exports = { open, readPng, writePng, blots };
