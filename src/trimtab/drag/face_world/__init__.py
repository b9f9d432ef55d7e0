"""A world of drawn faces whose every number is known: parameters, pictures, landmarks, and the way back."""
