"""Admission rules of the embedded cluster."""

from embedded.control_plane import admission


def test_policies_refuse_updates_of_a_pod_that_have_no_effect() -> None:
    found = {each["metadata"]["name"]: each for each in admission.policies() if "matchConstraints" in each["spec"]}
    spec = found["waypoint-lab-pod-updates"]["spec"]
    assert spec["matchConstraints"]["resourceRules"][0]["operations"] == ["UPDATE"]
    images, deadline = (each["expression"] for each in spec["validations"])
    new, old = images.split(" == ")
    assert "containers" in new
    assert "initContainers" in new
    assert new.replace("object.", "oldObject.") == old
    assert deadline.count("activeDeadlineSeconds.orValue(0)") == 2
    assert [each["message"].split(":")[0] for each in spec["validations"]] == ["image", "activeDeadlineSeconds"]
