"""The mount plan of a container."""

from embedded.node.kubelet.mounts import Bind, plan


def test_a_mount_point_that_does_not_exist_is_made_in_a_mirror_of_its_folder() -> None:
    steps = plan({"/etc/istio/proxy": Bind("/somewhere")})
    assert ["show", "/etc", "/etc"] not in steps
    assert ["show", "/etc/passwd", "/etc/passwd"] in steps
    assert ["bind", "/somewhere", "/etc/istio/proxy"] in steps


def test_a_folder_without_new_mount_points_is_shown_whole_and_read_only() -> None:
    assert ["show", "/etc", "/etc"] in plan({"/etc/passwd": Bind("/somewhere")})


def test_everything_on_this_machine_is_read_only_in_a_container() -> None:
    own = {"/data-of-mine/x": Bind("/somewhere")}
    assert {"/somewhere"} == {source for kind, source, _ in plan(own) if kind == "bind"}
