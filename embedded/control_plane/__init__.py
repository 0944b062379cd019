"""Control plane of the embedded cluster: its addresses, credentials, processes and the mesh installation."""
