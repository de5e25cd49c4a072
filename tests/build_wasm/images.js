// Writes PNG files into a folder.
//
//   node images.js idx FILE.gz N FOLDER            the first images of an IDX file
//   node images.js blots WIDTH HEIGHT CHANNELS N FOLDER
'use strict';
const fs = require('fs');
const zlib = require('zlib');
const { writePng, blots } = require('./module.js');

const [, , kind, ...rest] = process.argv;
const folder = rest[rest.length - 1], n = Number(rest[rest.length - 2]);
const name = (i) => folder + '/' + String(i).padStart(4, '0') + '.png';
fs.mkdirSync(folder, { recursive: true });
if (kind === 'idx') {
    let file = fs.readFileSync(rest[0]);
    if (rest[0].endsWith('.gz')) file = zlib.gunzipSync(file);
    const height = file.readUInt32BE(8), width = file.readUInt32BE(12), one = height * width;
    for (let i = 0; i < n; i++) {
        const data = file.subarray(16 + i * one, 16 + (i + 1) * one);
        writePng(name(i), { width, height, channels: 1, data });
    }
} else {
    const [width, height, channels] = rest.map(Number);
    for (let i = 0; i < n; i++) writePng(name(i), blots(i, width, height, channels));
}
