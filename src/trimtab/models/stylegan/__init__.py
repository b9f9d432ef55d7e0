"""Frozen generators of pictures: StyleGAN2 and MobileStyleGAN, with their features, windows and previews."""
