"""Bookinfo in Python: small servers with the API of Istio's sample application.

`bookinfo.yaml` is the application for any cluster; on the embedded cluster these servers replace its images.
"""
