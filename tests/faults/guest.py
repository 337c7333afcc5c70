"""A virtual machine that runs the gateway on a disk whose writes can be dropped.

It starts from memory: Debian's kernel, busybox, the gateway's program and a home. No part of it needs
root, a mount or KVM on the machine that it runs on.
"""

import os
import pathlib
import re
import shutil
import socket
import subprocess

from ground import ADDRESS, REPOSITORY, binary

HERE = pathlib.Path(__file__).resolve().parent
# Where tests/run unpacks Debian's kernel.
KERNEL = REPOSITORY / "target" / "kernel"
# The guest's address in QEMU's own network.
GUEST = "10.0.2.15"
MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "dm-flakey", "xfs")
# Its file is sparse. More than `free_bytes_min` stays free on it.
DISK = "4G"
SYSTEM_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
# How long anything may take in a guest without KVM, on a busy machine, in seconds.
GUEST_PATIENCE = 180


class Image:
    """What the guest starts from: the kernel, and everything that it will have in memory."""

    def __init__(self, folder, home, preload):
        self._root = folder / "image"
        (self.kernel,) = (KERNEL / "boot").glob("vmlinuz-*")
        for name in ("bin", "dev", "mnt", "proc", "run", "sys", "tmp"):
            (self._root / name).mkdir(parents=True)
        shutil.copy(HERE / "guest_init.sh", self._root / "init")
        (self._root / "init").chmod(0o755)
        program = self._root / "bin" / "mash-gateway"
        run("strip", "-o", program, binary())
        shutil.copy(tool("busybox"), self._root / "bin" / "busybox")
        (self._root / "bin" / "sh").symlink_to("busybox")
        shutil.copy(tool("dmsetup"), self._root / "bin" / "dmsetup")
        # A library that the gateway can be started with.
        run("gcc", "-shared", "-fPIC", "-Wall", "-o", self._root / "preload.so", preload)
        self._add_libraries(program, tool("busybox"), tool("dmsetup"))
        self._add_modules(self.kernel.name.removeprefix("vmlinuz-"))
        shutil.copytree(home, self._root / "seed" / home.name)
        self.memory = folder / "image.cpio"
        self._pack()

    def _add_libraries(self, *programs):
        for program in programs:
            listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
            # One that is linked statically has none, which ldd takes for a failure.
            for path in re.findall(r"(/\S+) \(0x", listed.stdout):
                to = self._root / path.removeprefix("/")
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, to)

    # Each after those that it needs, in one list for the guest.
    def _add_modules(self, version):
        run(tool("busybox"), "depmod", "-b", KERNEL, version)
        folder = KERNEL / "lib" / "modules" / version
        needs = dict(
            line.split(":") for line in (folder / "modules.dep").read_text("utf-8").splitlines()
        )
        wanted = []
        for name in MODULES:
            (path,) = [path for path in needs if path.endswith(f"/{name}.ko")]
            # The list has the nearest first, and whole.
            for module in [*reversed(needs[path].split()), path]:
                if module not in wanted:
                    wanted.append(module)
        (self._root / "lib" / "modules").mkdir(parents=True)
        names = []
        for path in wanted:
            to = self._root / "lib" / "modules" / pathlib.Path(path).name
            shutil.copy(folder / path, to)
            names.append(f"/lib/modules/{to.name}\n")
        (self._root / "modules").write_text("".join(names), "utf-8")

    def _pack(self):
        names = [str(path.relative_to(self._root)) for path in sorted(self._root.rglob("*"))]
        with open(self.memory, "wb") as packed:
            subprocess.run(
                [tool("busybox"), "cpio", "-o", "-H", "newc", "-R", "0:0"],
                input="\n".join(names).encode(),
                stdout=packed,
                stderr=subprocess.PIPE,
                cwd=self._root,
                check=True,
            )


class Guest:
    """A virtual machine, from its start until it is ended."""

    def __init__(self, image, folder, file_system, home, accelerator):
        folder.mkdir()
        disk = folder / "disk.img"
        run("truncate", "-s", DISK, disk)
        run(tool(f"mkfs.{file_system}"), "-q", disk)
        self._console = folder / "console.log"
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(GUEST_PATIENCE)
        port = home.ports["partner_api"]
        with open(folder / "qemu.log", "wb") as log:
            self.process = subprocess.Popen(
                [
                    # It ends with this process, however that ends.
                    *("setpriv", "--pdeathsig", "KILL"),
                    *("qemu-system-x86_64", "-accel", accelerator, "-cpu", "max", "-smp", "2"),
                    *("-m", "1024", "-nodefaults", "-no-user-config", "-display", "none"),
                    *("-no-reboot", "-serial", f"file:{self._console}"),
                    *("-kernel", image.kernel, "-initrd", image.memory),
                    # Emulated on a busy machine, its clock may be too slow for the kernel's check of it.
                    *("-append", "console=ttyS0 quiet panic=-1 no_timer_check"),
                    *("-drive", f"file={disk},if=virtio,format=raw,cache=writeback"),
                    *("-nic", f"user,model=virtio,hostfwd=tcp:{ADDRESS}:{port}-{GUEST}:{port}"),
                    *("-device", "virtio-serial"),
                    *("-chardev", f"socket,id=command,fd={theirs.fileno()}"),
                    *("-device", "virtserialport,chardev=command,name=command"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[theirs.fileno()],
            )
        theirs.close()
        try:
            self._read()
            self.must(f"set_up {file_system}")
        except BaseException:
            self.__exit__()
            raise

    def run(self, command):
        """Carries out a command in the guest, and gives its exit code and what it printed.

        It is words and no shell, so nothing in it is quoted or expanded; guest_init.sh has some of its own.
        """
        self._socket.sendall(command.encode() + b"\n")
        return self._read()

    def must(self, command):
        """The same for one that must succeed; gives what it printed."""
        code, printed = self.run(command)
        if code != 0:
            raise RuntimeError(f"in the guest: {command}: exit {code}\n{printed[-4000:]}")
        return printed

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()
        self.process.kill()
        self.process.wait()

    # What a command printed ends with \001, its exit code, and a new line.
    def _read(self):
        taken = bytearray()
        try:
            while not (end := re.search(rb"\001(\d+)\n\Z", taken[-8:])):
                more = self._socket.recv(1 << 20)
                if not more:
                    raise OSError("it has ended")
                taken += more
        except OSError as error:
            console = self._console.read_text("utf-8", "replace")
            raise RuntimeError(f"the guest does not answer: {error}\n{console[-4000:]}") from error
        return int(end[1]), taken.rpartition(b"\001")[0].decode("utf-8", "replace")


def tool(name):
    """Where a program is, also one that is meant for root."""
    path = shutil.which(name, path=SYSTEM_PATH)
    if path is None:
        raise RuntimeError(f"there is no {name} here: tests/run installs it")
    return path


def run(*words):
    """Runs a program, which must succeed, and gives what it printed."""
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{words[0]}: {done.stdout}{done.stderr}")
    return done.stdout
