"""What a run says at its end, on the console and in files."""
