// A function that classifies images with a module, whose bytes come from fetch('digits.wasm') in a
// page, from fs.readFileSync in node.
async function classifier(bytes) {
    const { instance } = await WebAssembly.instantiate(bytes, {});
    const f = instance.exports;
    const text = (at) => {
        const b = new Uint8Array(f.memory.buffer, at);
        return new TextDecoder().decode(b.subarray(0, b.indexOf(0)));
    };
    const good = (yes) => {
        if (!yes) throw new Error(text(f.error()));
    };
    const { classes } = JSON.parse(text(f.info()));
    good(f.start() === 0);
    return (image) => { // an ImageData of a canvas, of any size
        const at = f.pixels(image.height, image.width, 4);
        good(at !== 0);
        new Uint8Array(f.memory.buffer, at, image.data.length).set(image.data);
        good(f.classify(1) === 0);
        const p = new Float64Array(f.memory.buffer, f.probabilities(), classes.length);
        return classes.map((name, i) => ({ name, probability: p[i] }));
    };
}
