"""From predictions on the model's grid to labels on the image's grid."""
