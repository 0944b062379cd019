"""One question to the cluster before anything is planned, so that what is wrong is said in one line."""

import shutil
import subprocess

from lab.config import ConfigError, LabConfig


class Preflight:
    """Asks whether the Service is there; starts at once and is heard later, so that it costs no time of its own."""

    def __init__(self, config: LabConfig) -> None:
        """Starts kubectl. Raises ConfigError where it is missing."""
        if shutil.which("kubectl") is None:
            raise ConfigError('kubectl is not on PATH; in this clone: eval "$(.venv/bin/lab env)"')
        self._config = config
        chosen = [f"--kubeconfig={config.kubeconfig}"] if config.kubeconfig else []
        chosen += [f"--context={config.context}"] if config.context else []
        wanted = ["namespace", "default"]
        if not config.deploy_bookinfo:
            wanted = ["service", config.service, "--namespace", config.namespace]
        command = ["kubectl", *chosen, "--request-timeout=10s", "get", *wanted, "--output", "name"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def result(self) -> None:
        """Waits for the answer. Raises ConfigError with one line where the cluster or the Service is not there."""
        try:
            _out, said = self._process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise ConfigError("the cluster gave no answer within 30 s") from None
        if self._process.returncode == 0:
            return
        line = (said.strip().splitlines() or ["kubectl said nothing"])[-1]
        config = self._config
        if "NotFound" in line:
            where = f"{config.namespace}/{config.service}"
            raise ConfigError(
                f"there is no Service {where} in the cluster: set waypoint-lab:namespace and service ({line})"
            )
        raise ConfigError(
            f"the cluster cannot be used: {line.removeprefix('error: ')}; is it up (lab status), is KUBECONFIG set?"
        )
