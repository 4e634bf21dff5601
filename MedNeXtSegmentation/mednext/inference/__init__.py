"""From volumes to labels: `segment` strings the steps together."""
