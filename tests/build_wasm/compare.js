// Whether a module gives the answers of `vmoec predict --json`: the same class, every probability
// nearly the same, twice the same bits.
//
//   node compare.js MODULE PREDICTED.jsonl TOLERANCE LEAST
//     LEAST  how many images there must be at least
'use strict';
const fs = require('fs');
const { open, readPng } = require('./module.js');

const [, , path, predicted, tolerance, least] = process.argv;
const m = open(path);
let worst = 0, n = 0;
for (const line of fs.readFileSync(predicted, 'utf8').trim().split('\n')) {
    const wanted = JSON.parse(line), image = readPng(wanted.image);
    const { status, p } = m.classify(image);
    if (status) throw new Error(wanted.image + ': ' + m.error());
    const again = m.classify(image).p;
    if (p.some((v, i) => !Object.is(v, again[i]))) throw new Error(wanted.image + ': other bits');
    const best = p.indexOf(Math.max(...p));
    if (m.info.classes[best] !== wanted.class) {
        throw new Error(wanted.image + ': ' + m.info.classes[best] + ', not ' + wanted.class);
    }
    if (wanted.top.length !== p.length) throw new Error('not all classes were predicted');
    for (const c of wanted.top) worst = Math.max(worst, Math.abs(c.probability - p[c.label]));
    n++;
}
if (n < Number(least)) throw new Error(n + ' images');
if (!(worst <= Number(tolerance))) throw new Error('probabilities differ by ' + worst);
console.log(n + ' images, at most ' + worst.toExponential(1));
