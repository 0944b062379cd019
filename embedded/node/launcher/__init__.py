"""The launcher: a small process that starts the processes of all Pods in their namespaces."""
