"""`make bench-gpu`: measure everything on a CUDA card, in one run of less than ten minutes.

    python -m benchmarks.gpu                                   # all jobs, the most important first
    python -m benchmarks.gpu --jobs forward:S3 tune:L3         # some of them
    python -m benchmarks.gpu --resume gpu.jsonl                # jobs that are not in these results yet
    python -m benchmarks.gpu --smoke                           # tiny, on Triton's interpreter: does it run?
    python -m benchmarks.gpu.compiling --networks S3           # registers and spills, without a card

Each job is a process of its own, so that a crash of one does not reach the others. Its records are written to
`gpu.jsonl` at once, in the folder `$OUT` or `--output`; the tables of all are written to `gpu.md` at the end.

Goals on an H200 at 128³: 2.0 ms a pass for S3, 2.3 for B3, 3.3 for M3, 4.0 for L3, 7.0 for L5; six times as
fast as eager fp16 and three times as fast as torch.compile; the network takes 70 % of a whole scan; training
steps of S3 and L3 are 1.5 times as fast as torch's.
"""
