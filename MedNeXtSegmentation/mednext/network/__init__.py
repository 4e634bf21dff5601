"""The network, its blocks, and the faster formulations that give the same logits."""
