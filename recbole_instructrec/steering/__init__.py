"""Does a trained model follow instructions: measures, not model code."""
