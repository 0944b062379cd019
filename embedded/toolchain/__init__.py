"""The Go binaries of the embedded cluster, built once into a cache outside the clone."""
