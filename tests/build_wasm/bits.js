// The bits of a module's answers for ten made-up images, a line each: in node, or evaluated in a
// page, whose `model` and `info` it finds.
//
//   node bits.js MODULE
'use strict';

function bits(f, info) {
    const n = info.height * info.width * info.channels, lines = [];
    for (let k = 0; k < 10; k++) {
        const at = f.pixels(info.height, info.width, info.channels);
        const b = new Uint8Array(f.memory.buffer, at, n);
        for (let i = 0; i < n; i++) b[i] = i * i * 7 + i * (13 + k) + k * 31;
        if (f.classify(0)) throw new Error('refused');
        const p = new BigUint64Array(f.memory.buffer, f.probabilities(), info.classes.length);
        lines.push(Array.from(p, (v) => v.toString(16)).join(' '));
    }
    return lines.join('\n');
}

if (typeof require === 'function') {
    const m = require('./module.js').open(process.argv[2]);
    console.log(bits(m.f, m.info));
}
