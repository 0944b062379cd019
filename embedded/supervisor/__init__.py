"""Start, watch and stop the processes of one cluster."""
