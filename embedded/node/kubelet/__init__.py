"""The kubelet: it runs the Pods of the node as processes and answers `kubectl logs` and `kubectl exec`."""
