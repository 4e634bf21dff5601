"""`make bench-gpu`: all that is to be known on a CUDA card, in one run of less than ten minutes.

    python -m benchmarks.gpu                                   # all of it, the most important first
    python -m benchmarks.gpu --jobs forward:S3 tune:L3         # some of it
    python -m benchmarks.gpu --resume gpu.jsonl                # what is not in these results yet
    python -m benchmarks.gpu --smoke                           # tiny, on Triton's interpreter: does it run?
    python -m benchmarks.gpu.compiling --networks S3 --report  # registers and spills, without a card

Each job is a process of its own: what one of them does to the card, or to itself, the others do not notice.
What it tells is written to `gpu.jsonl` at once, in the folder `$OUT` or `--output`; tables are made of it.
"""
