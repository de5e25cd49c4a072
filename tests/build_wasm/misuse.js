// What a module answers to calls that make no sense, and how it centres drawings. It is one for
// grey images of 28 x 28 whose recipe does not resize.
//
//   node misuse.js MODULE
'use strict';
const { open, blots } = require('./module.js');

const path = process.argv[2];
function want(what, right, found = '') {
    if (!right) throw new Error(what + ': ' + found);
}
function refused(what, m, status, found, text) {
    want(what, found === status && m.error().includes(text), found + ' ' + m.error());
}

const m = open(path, false);
refused('not started', m, 2, m.f.classify(0), 'not started');
want('no error yet is empty', open(path, false).error() === '');
want('it starts', m.f.start() === 0, m.error());
refused('started twice', m, 2, m.f.start(), 'already');
refused('no picture', m, 2, m.f.classify(0), 'no picture');
for (const [h, w, c] of [[0, 1, 1], [1, -5, 1], [4, 4, 2], [20000, 20000, 4], [2147483647, 2147483647, 4]]) {
    refused([h, w, c].join(), m, 0, m.f.pixels(h, w, c), 'expected');
    refused('and there is no picture', m, 2, m.f.classify(1), 'no picture');
}
const right = blots(1, 28, 28, 1);
want('one of the right size', m.classify(right).status === 0, m.error());
refused('another size', m, 1, m.classify(blots(1, 30, 20, 3)).status, '20 x 30');
want('which any_size resizes', m.classify(blots(1, 30, 20, 3), 1).status === 0, m.error());
want('an answer after a refusal is the same', m.classify(right).p.every((v, i) => v === open(path)
    .classify(right).p[i]));
want('probabilities sum to 1', Math.abs(m.classify(right).p.reduce((a, b) => a + b) - 1) < 1e-12);
const large = blots(3, 3000, 2000, 4); // memory grows, and views of it are made again
for (let i = 0; i < 20; i++) want('a large picture', m.classify(large, 1).status === 0, m.error());
want('memory is given back', m.f.memory.buffer.byteLength < 120e6, m.f.memory.buffer.byteLength);

// ---- drawings ----------------------------------------------------------------------------------

function draw(width, height, ink) {
    const at = m.f.pixels(height, width, 1), b = m.bytes(at, width * height);
    for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++) b[y * width + x] = ink(x, y) ? 255 : 0;
    }
    return m.f.draw();
}
function facts() {
    const s = m.seen();
    let mass = 0, mx = 0, my = 0, left = 28, right = -1, top = 28, bottom = -1;
    s.forEach((v, i) => {
        const x = i % 28, y = (i - x) / 28;
        mass += v;
        mx += v * x;
        my += v * y;
        if (!v) return;
        [left, right] = [Math.min(left, x), Math.max(right, x)];
        [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
    });
    return { x: mx / mass, y: my / mass, width: right - left + 1, height: bottom - top + 1 };
}
refused('an empty drawing', m, 1, draw(280, 280, () => false), 'nothing is drawn');
refused('a coloured drawing', m, 2, (m.f.pixels(9, 9, 3), m.f.draw()), 'one channel');
const drawings = {
    'a tall stroke in a corner': [(x, y) => x > 200 && x < 221 && y > 10 && y < 131, 20, 3],
    'a wide one': [(x, y) => x > 5 && x < 206 && y > 250 && y < 275, 2, 20],
    'a triangle': [(x, y) => x > 40 && y > 60 && x < 160 && y < 180 && x < y, 20, 20],
    'all of it': [() => true, 20, 20],
    'one point': [(x, y) => x === 3 && y === 270, 20, 20],
};
for (const [what, [ink, height, width]] of Object.entries(drawings)) {
    want(what, draw(280, 280, ink) === 0, m.error());
    const f = facts();
    want(what + ' lies at the middle', Math.abs(f.x - 14) <= 0.5 && Math.abs(f.y - 14) <= 0.5,
        JSON.stringify(f));
    want(what + ' fills the box', f.height === height && f.width === width, JSON.stringify(f));
}
const wide = draw(560, 280, drawings['a triangle'][0]), there = m.seen();
want('the size of the pad does not matter', wide === 0 && draw(280, 280, drawings['a triangle'][0]) === 0
    && m.seen().every((v, i) => v === there[i]));
console.log('all of it');
