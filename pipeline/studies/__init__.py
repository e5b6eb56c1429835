"""What the notebooks compute and draw: frames in, frames and figures out; the notebooks only call it."""
