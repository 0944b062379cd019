"""Routes of a config dump: the backends that they choose between, and those that cannot answer."""

from tests.unit.guard.envoys import HOST, cluster, clusters, dump, endpoint, to
from waypoint_lab.guard import routes
from waypoint_lab.measure.endpoint_counters import Destination

WEB, OLD, NEW = (Destination(HOST.format(name), 80) for name in ("web", "old", "new"))


def test_groups_join_a_service_with_the_backends_of_its_routes() -> None:
    found = list(routes.routes(dump("web", to(old=80, new=20), to(old=1))))
    assert [frozenset({WEB, OLD, NEW})] == routes.groups(found)


def test_connected_groups_are_merged_and_others_are_kept() -> None:
    web, old, new = ({one} for one in (WEB, OLD, NEW))
    given = [frozenset(one) for one in (web, old | new, new)]
    assert routes.connected(given) == [frozenset(web), frozenset(old | new)]


def test_weights_are_shares_of_the_requests() -> None:
    (route,) = routes.routes(dump("web", to(old=3, new=1, none=0)))
    assert {cluster("old"): 0.75, cluster("new"): 0.25} == route.clusters


def test_route_to_a_service_without_endpoints_is_broken() -> None:
    ready = routes.ready(clusters(old=[endpoint("a")], new=[endpoint("b", health="UNHEALTHY")]))
    (found,) = routes.broken(list(routes.routes(dump("web", to(old=80, new=20)))), ready)
    assert (WEB, NEW.host) == (found.where, found.backend)
    assert "20 % of its requests to new.shop.svc.cluster.local:80, which has no healthy endpoint" in found.why


def test_route_to_a_cluster_that_envoy_does_not_know_is_broken() -> None:
    ready = routes.ready(clusters(old=[endpoint("a")]))
    found = list(routes.broken(list(routes.routes(dump("web", to(old=1), to(reviewz=1)))), ready))
    assert [item.why.partition(",")[0] for item in found] == [
        "a route sends 100 % of its requests to reviewz.shop.svc.cluster.local:80"
    ]


def test_error_answered_by_the_waypoint_itself_is_broken() -> None:
    plain = [{"direct_response": {"status": status}} for status in (200, 500)]
    (found,) = routes.broken(list(routes.routes(dump("web", *plain))), {})
    assert "the waypoint answers 500" in found.why


def test_listener_without_routes_has_none() -> None:
    assert list(routes.routes({"configs": [{"dynamic_listeners": [{}]}, {"static_listeners": [{}]}]})) == []


def test_broken_route_has_its_cluster_and_its_share() -> None:
    (found,) = routes.broken(
        list(routes.routes(dump("web", to(old=95, new=5)))), routes.ready(clusters(old=[endpoint("a")]))
    )
    assert (cluster("new"), 0.05) == (found.cluster, found.share)
