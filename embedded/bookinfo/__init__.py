"""Bookinfo in Python: small servers that answer as the services of Istio's own sample do.

`bookinfo.yaml` beside this file is the application as any cluster gets it; these servers stand in for its images.
"""
