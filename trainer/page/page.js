/* The page around a module: pictures and drawings in, bars out. What a picture becomes on its way
 * to the model the module decides; here it is only decoded. Nothing is fetched and nothing kept. */
'use strict';

const at = (id) => document.getElementById(id);
const pad = at('pad');
const ink = pad.getContext('2d', { willReadFrequently: true });
const BARS = 12; // classes shown: all of so many, else the likeliest
const SLOW = 40; // ms: a drawing is classified while it is drawn if that takes less

let model = null; // the module's functions
let info = null;
let shown = []; // a bar's parts, by class or by place
let last = null; // what is classified again when a setting changes
let milliseconds = 0;

/* ---- the module ------------------------------------------------------------------------------ */

// A function with one instruction of SIMD.
const SIMD = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 10, 9, 1,
    7, 0, 65, 0, 253, 15, 26, 11]);

function missing() {
    if (typeof WebAssembly !== 'object') {
        return 'This browser cannot run WebAssembly, or does not allow it here.';
    }
    if (!WebAssembly.validate(SIMD)) {
        return 'This browser’s WebAssembly has no SIMD, which the model needs. Chrome and Edge 97, ' +
            'Firefox 102, Safari 16.4 and newer run this page.';
    }
    return typeof createImageBitmap === 'function' ? '' : 'This browser is too old for this page.';
}

function fromBase64(text) {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
    const binary = atob(text);
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
    return bytes;
}

function textAt(place) {
    const bytes = new Uint8Array(model.memory.buffer, place);
    return new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0)));
}

async function start() {
    const why = missing();
    if (why) throw new Error(why);
    const bytes = fromBase64(at('module').textContent);
    at('module').remove();
    model = (await WebAssembly.instantiate(bytes, {})).instance.exports;
    info = JSON.parse(textAt(model.info()));
    if (model.start() !== 0) throw new Error(textAt(model.error()));
}

/* ---- what is said ---------------------------------------------------------------------------- */

function fail(text) {
    at('failure').textContent = text;
    at('failure').hidden = !text;
    if (text) at('failure').scrollIntoView({ block: 'nearest' });
}

function percent(p) {
    return (p >= 0.9995 ? '100' : p < 0.0005 ? '0' : (100 * p).toFixed(1)) + '\u00a0%';
}

function describe() {
    const colours = info.channels === 1 ? 'grey' : 'colour';
    const size = info.width + '\u00a0×\u00a0' + info.height;
    document.title = info.name;
    at('name').textContent = info.name;
    at('about').textContent = 'Tells ' + info.classes.length + ' classes of ' + colours +
        ' images apart, ' + size + ' pixels each.';
    const facts = {
        'Model': info.model + ', ' + info.parameters.toLocaleString('en') + ' weights',
        'Images': size + ', ' + colours + (info.resize ? ', resized from any size' : ''),
        'Numbers': '(pixel / 255 − ' + info.mean.join(', ') + ') / ' + info.std.join(', '),
        'Memory': (info.memory / 1048576).toFixed(1) + ' MiB',
        'Made by': 'vmoec ' + info.version,
    };
    for (const [name, value] of Object.entries(facts)) {
        at('facts').append(element('dt', '', name), element('dd', '', value));
    }
}

function element(kind, name, text) {
    const e = document.createElement(kind);
    if (name) e.className = name;
    e.textContent = text;
    return e;
}

function makeBars() {
    const n = Math.min(info.classes.length, BARS);
    const longest = Math.max(...info.classes.map((c) => c.length));
    at('bars').style.setProperty('--names', Math.min(longest + 1, 14) * 0.6 + 'rem');
    for (let i = 0; i < n; i++) {
        const row = element('li', '', '');
        const track = element('span', 'track', '');
        const bar = { row, name: element('span', 'class', info.classes[i]),
            fill: element('span', 'fill', ''), value: element('span', 'value', '–') };
        track.append(bar.fill);
        row.append(bar.name, track, bar.value);
        at('bars').append(row);
        shown.push(bar);
    }
}

// Few classes keep their places; of many, the likeliest come first.
function order(p) {
    const all = Array.from(p.keys());
    return info.classes.length > BARS ? all.sort((a, b) => p[b] - p[a]) : all;
}

function showBars(p, best) {
    const classes = order(p);
    shown.forEach((bar, i) => {
        const k = classes[i];
        bar.row.className = k === best ? 'best' : '';
        bar.row.dataset.label = k;
        bar.row.dataset.probability = p[k];
        bar.name.textContent = bar.name.title = info.classes[k];
        bar.fill.style.width = 100 * p[k] + '%';
        bar.value.textContent = percent(p[k]);
    });
}

function showSeen(what) {
    const { width, height, channels } = info;
    const bytes = new Uint8Array(model.memory.buffer, model.seen(), width * height * channels);
    const canvas = at('seen');
    canvas.width = width;
    canvas.height = height;
    const c = canvas.getContext('2d');
    const image = c.createImageData(width, height);
    for (let i = 0; i < width * height; i++) {
        for (let k = 0; k < 3; k++) {
            image.data[4 * i + k] = bytes[(channels === 1 ? 0 : k * width * height) + i];
        }
        image.data[4 * i + 3] = 255;
    }
    c.putImageData(image, 0, 0);
    canvas.setAttribute('aria-label', 'What the model sees: ' + what + ' of ' + width + ' × ' +
        height + ' pixels');
}

function nothing() {
    last = null;
    at('best').textContent = '–';
    at('how').textContent = 'There is no picture yet.';
    at('seen').width = at('seen').height = 1;
    at('seen').setAttribute('aria-label', 'What the model sees: nothing yet');
    for (const bar of shown) {
        bar.row.className = '';
        bar.row.removeAttribute('data-probability');
        bar.fill.style.width = 0;
        bar.value.textContent = '–';
    }
}

/* ---- classifying ----------------------------------------------------------------------------- */

// pixels: height x width x channels bytes; run: the function that looks at them.
function classify(pixels, height, width, channels, run, what) {
    const place = model.pixels(height, width, channels);
    if (!place) throw new Error(textAt(model.error()));
    new Uint8Array(model.memory.buffer, place, pixels.length).set(pixels);
    const t = performance.now();
    const status = run();
    milliseconds = performance.now() - t;
    if (status !== 0) throw new Error(textAt(model.error()));
    const p = new Float64Array(model.memory.buffer, model.probabilities(), info.classes.length).slice();
    const best = p.indexOf(Math.max(...p));
    showSeen(what);
    showBars(p, best);
    at('best').textContent = info.classes[best];
    at('how').textContent = percent(p[best]) + ' sure, after ' + milliseconds.toFixed(1) + '\u00a0ms' +
        (what === 'a drawing' || (height === info.height && width === info.width) ? '' :
            '; resized from ' + width + '\u00a0×\u00a0' + height);
    fail('');
}

function attempt(job) {
    try {
        job();
    } catch (e) {
        nothing();
        fail(e.message + '.');
    }
}

/* ---- drawing --------------------------------------------------------------------------------- */

let pen = null; // where the stroke is: {id, x, y}
let waiting = false;
let empty = true;

function clear() {
    ink.fillStyle = '#000';
    ink.fillRect(0, 0, pad.width, pad.height);
    empty = true;
    at('ghost').hidden = false;
    pad.setAttribute('aria-label', 'Drawing pad, empty: draw with mouse, pen or finger');
}

function classifyDrawing() {
    waiting = false;
    if (empty) return;
    const n = pad.width * pad.height;
    const rgba = ink.getImageData(0, 0, pad.width, pad.height).data;
    const grey = new Uint8Array(n);
    for (let i = 0; i < n; i++) grey[i] = rgba[4 * i];
    last = null;
    attempt(() => classify(grey, pad.height, pad.width, 1,
        () => (info.digits ? model.draw() : model.classify(1)), 'a drawing'));
}

function soon() {
    if (waiting || milliseconds > SLOW) return;
    waiting = true;
    requestAnimationFrame(classifyDrawing);
}

function placeOf(e) {
    const r = pad.getBoundingClientRect();
    return { id: e.pointerId, x: (e.clientX - r.left - pad.clientLeft) * pad.width / pad.clientWidth,
        y: (e.clientY - r.top - pad.clientTop) * pad.height / pad.clientHeight };
}

function line(from, to) {
    ink.strokeStyle = '#fff';
    ink.lineWidth = pad.width / 13;
    ink.lineCap = ink.lineJoin = 'round';
    ink.beginPath();
    ink.moveTo(from.x, from.y);
    ink.lineTo(to.x, to.y + (from === to ? 0.01 : 0));
    ink.stroke();
    if (empty) pad.setAttribute('aria-label', 'Drawing pad with a drawing');
    at('ghost').hidden = true;
    empty = false;
}

function drawWithPointers() {
    pad.addEventListener('pointerdown', (e) => {
        if (pen || e.button !== 0) return;
        pen = placeOf(e);
        try {
            pad.setPointerCapture(e.pointerId);
        } catch (none) { /* a pointer that is gone already: its stroke is a dot */ }
        line(pen, pen);
        soon();
        e.preventDefault();
    });
    pad.addEventListener('pointermove', (e) => {
        if (!pen || e.pointerId !== pen.id) return;
        const all = e.getCoalescedEvents ? e.getCoalescedEvents() : [];
        for (const p of all.length ? all : [e]) {
            const to = placeOf(p);
            to.id = pen.id;
            line(pen, to);
            pen = to;
        }
        soon();
    });
    for (const end of ['pointerup', 'pointercancel']) {
        pad.addEventListener(end, (e) => {
            if (!pen || e.pointerId !== pen.id) return;
            pen = null;
            classifyDrawing();
        });
    }
    at('clear').addEventListener('click', () => {
        clear();
        nothing();
        fail('');
    });
}

/* ---- pictures -------------------------------------------------------------------------------- */

async function pixelsOf(file) {
    let bitmap;
    try { // as the file has them: upright, without the screen's colours
        bitmap = await createImageBitmap(file, { imageOrientation: 'from-image',
            premultiplyAlpha: 'none', colorSpaceConversion: 'none' });
    } catch (e) {
        throw new Error((file.name || 'This') + ' cannot be read as a picture: it is damaged, or of ' +
            'a kind that this browser does not know');
    }
    const { width, height } = bitmap;
    const canvas = document.createElement('canvas');
    canvas.width = width;
    canvas.height = height;
    try {
        const c = canvas.getContext('2d', { willReadFrequently: true });
        c.drawImage(bitmap, 0, 0);
        return { data: c.getImageData(0, 0, width, height).data, width, height };
    } catch (e) {
        throw new Error((file.name || 'The picture') + ' is too large for this browser: ' + width +
            ' × ' + height);
    } finally {
        bitmap.close();
    }
}

function classifyPicture(picture) {
    let pixels = picture.data;
    if (at('negative').checked && info.channels === 1) pixels = pixels.map((v) => 255 - v);
    classify(pixels, picture.height, picture.width, 4, () => model.classify(1), 'a picture');
    last = picture;
    at('answer').scrollIntoView({ block: 'nearest' });
}

async function take(files) {
    const file = files && files[0];
    if (!file) {
        fail('That was no file: save the picture first, then drop or choose it.');
        return;
    }
    try {
        const picture = await pixelsOf(file);
        clear();
        attempt(() => classifyPicture(picture));
    } catch (e) {
        nothing();
        fail(e.message + '.');
    }
}

function takeFiles() {
    at('file').addEventListener('change', () => {
        take(at('file').files);
        at('file').value = ''; // so that the same file can be chosen again
    });
    at('negative').addEventListener('change', () => {
        if (last) attempt(() => classifyPicture(last));
    });
    document.addEventListener('dragover', (e) => {
        e.preventDefault();
        document.body.classList.add('over');
    });
    document.addEventListener('dragleave', (e) => {
        if (!e.relatedTarget) document.body.classList.remove('over');
    });
    document.addEventListener('drop', (e) => {
        e.preventDefault();
        document.body.classList.remove('over');
        take(e.dataTransfer.files);
    });
    document.addEventListener('paste', (e) => {
        if (e.clipboardData.files.length) take(e.clipboardData.files);
    });
}

/* ---- the whole ------------------------------------------------------------------------------- */

function open() {
    describe();
    makeBars();
    clear();
    takeFiles();
    if (info.channels === 1) {
        at('drawing').hidden = at('negative-row').hidden = false;
        at('pad-hint').textContent = info.digits ? 'Centred as the digits of MNIST are.' :
            'Light on black, as the model’s images are.';
        drawWithPointers();
    }
    at('work').className = info.channels === 1 ? '' : 'pictures';
    at('work').hidden = at('details').hidden = false;
    document.body.dataset.state = 'ready';
}

start().then(open).catch((e) => {
    at('about').textContent = 'The model cannot be used here.';
    fail(e.message);
    document.body.dataset.state = 'failed';
});
