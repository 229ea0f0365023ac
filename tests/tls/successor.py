"""The process that takes over from a server in an upgrade. It is the server's child and not this program's."""

import ctypes
import os

from scenes_server import wait

PR_SET_CHILD_SUBREAPER = 36


def adopt():
    """From now on, processes whose parent has ended become this program's children, so that it learns their exit code."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


class Successor:
    """What `subprocess.Popen` would be for it, once the old process has ended."""

    def __init__(self, pid):
        self.pid = pid
        self.returncode = None

    def send_signal(self, how):
        if self.poll() is None:
            os.kill(self.pid, how)

    def kill(self):
        self.send_signal(9)

    def poll(self):
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, seconds=30.0):
        wait(f"process {self.pid} ends", lambda: self.poll() is not None, seconds=seconds)
        return self.returncode
