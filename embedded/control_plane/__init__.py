"""etcd, API server, controller manager, scheduler and istiod."""
