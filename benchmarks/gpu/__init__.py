"""`make bench-gpu`: measure everything on a CUDA card, in one run of less than ten minutes.

    python -m benchmarks.gpu                                   # all jobs, the most important first
    python -m benchmarks.gpu --jobs forward:S3 tune:L3         # some of them
    python -m benchmarks.gpu --resume gpu.jsonl                # jobs that are not in these results yet
    python -m benchmarks.gpu --smoke                           # tiny, on Triton's interpreter: does it run?
    python -m benchmarks.gpu.compiling --networks S3 --report  # registers and spills, without a card

Each job is a process of its own, so that a crash of one does not reach the others. Its records are written to
`gpu.jsonl` at once, in the folder `$OUT` or `--output`; the tables of all are written to `gpu.md` at the end.
"""
