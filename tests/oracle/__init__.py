"""An independent implementation of Gold, the data it is tried on, and the errors it must find."""
