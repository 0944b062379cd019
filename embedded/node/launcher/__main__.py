"""`python -m embedded.node.launcher FD`: serve the node agent at the other end of the socket FD."""

import signal
import socket
import sys

from embedded.node.launcher import system
from embedded.node.launcher.server import LauncherServer

if __name__ == "__main__":
    system.prctl(system.PR_SET_PDEATHSIG, signal.SIGKILL)
    system.prctl(system.PR_SET_NAME, b"launcher")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    LauncherServer(socket.socket(fileno=int(sys.argv[1]))).serve()
