"""PyTorch's depthwise convolutions at ConvNeXt-T's four sizes: forward, gradient of the image (dx)
and of the weight (dW), in GFLOP/s of useful taps, those that lie inside the image.

    bench/conv.py [--batch 16] [--kernel 7] [--threads 2] [--seconds 1]

The best of both memory formats counts, as in a comparison with vmoec
(`vmoec bench --kernel "depthwise batch=16 size=56 c=96 kernel=7 stride=1"`, ..)."""

import argparse
import time

import torch

SIZES = ((56, 96), (28, 192), (14, 384), (7, 768))  # pixels of a side, channels
FORMATS = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}
MASKS = {"dx": [True, False, False], "dW": [False, True, False]}


def useful_taps(side, kernel):
    """Taps along one dimension that meet a pixel, over all outputs."""
    pad = kernel // 2
    return sum(0 <= at + k - pad < side for at in range(side) for k in range(kernel))


def best_seconds(run, seconds):
    run()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def kernels(batch, side, channels, kernel, layout):
    """{name: function} of the three kernels."""
    x = torch.randn(batch, channels, side, side).contiguous(memory_format=layout)
    dy = torch.randn(batch, channels, side, side).contiguous(memory_format=layout)
    w = torch.randn(channels, 1, kernel, kernel).contiguous(memory_format=layout)
    pad, one, none = [kernel // 2] * 2, [1, 1], [0, 0]

    def backward(mask):
        return lambda: torch.ops.aten.convolution_backward(
            dy, x, w, None, one, pad, one, False, none, channels, mask
        )

    forward = lambda: torch.conv2d(x, w, None, one, pad, one, channels)  # noqa: E731
    return {"forward": forward} | {name: backward(mask) for name, mask in MASKS.items()}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--kernel", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each figure")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    k = args.kernel
    print(f"PyTorch {torch.__version__}, {args.threads} threads, {args.batch} images, {k} x {k}")
    print(f"{'size':14}{'format':16}" + "".join(f"{n:>20}" for n in ("forward", *MASKS)))
    with torch.no_grad():
        for side, channels in SIZES:
            flops = 2 * args.batch * channels * useful_taps(side, k) ** 2
            for name, layout in FORMATS.items():
                row = f"{f'{side} x {side} x {channels}':14}{name:16}"
                for run in kernels(args.batch, side, channels, k, layout).values():
                    seconds = best_seconds(run, args.seconds)
                    row += f"{1e3 * seconds:9.2f} ms {1e-9 * flops / seconds:5.0f} G"
                print(row, flush=True)


if __name__ == "__main__":
    main()
