"""Malformed and unauthorized frames."""

import json
import os
import unittest
import uuid

import zmq
from client import Empty, KernelTest
from jupyter_client.session import Session


class Frames(KernelTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.info = cls.kernel.manager.get_connection_info()

    def socket(self, channel):
        socket = zmq.Context.instance().socket(zmq.DEALER)
        socket.linger = 0
        socket.connect(f"tcp://{self.info['ip']}:{self.info[channel + '_port']}")
        self.addCleanup(socket.close)
        return socket

    def assert_silent(self, socket, seconds=1.0):
        self.assertFalse(socket.poll(int(seconds * 1000)), "there was an answer")
        self.assertEqual(self.kernel.run("1 + 1").result, "2")

    def test_messages_with_a_wrong_key_are_ignored(self):
        for channel in ("shell", "control"):
            socket = self.socket(channel)
            stranger = Session(key=b"another key")
            stranger.send(socket, "kernel_info_request", {})
            stranger.send(socket, "shutdown_request", {"restart": False})
            stranger.send(socket, "execute_request", {"code": "std::process::exit(1)"})
            self.assert_silent(socket)

    def test_malformed_frames_are_ignored(self):
        key = self.info["key"]
        session = Session(key=key)
        header = session.msg_header("kernel_info_request")
        good = session.serialize(session.msg("kernel_info_request", {}, header=header))
        frames = [
            [b""],
            [b"<IDS|MSG>"],
            [b"<IDS|MSG>", b""],
            [b"<IDS|MSG>", b"nothex", b"{}", b"{}", b"{}", b"{}"],
            [b"<IDS|MSG>", b"00" * 32, b"{}", b"{}", b"{}"],
            [b"no delimiter", b"at", b"all"],
            [os.urandom(1000) for _ in range(7)],
            good[:-1],
            good[:1] + good[2:],
            [*good[:-1], b"\xff\xfe"],
        ]
        # The signature is valid, but the parts are not a message.
        for parts in ([b"[]"] * 4, [b"{}"] * 4, [b"\xff"] * 4, [json.dumps(header, default=str).encode(), b"", b"", b""]):
            frames.append([b"<IDS|MSG>", session.sign(parts), *parts])
        for channel in ("shell", "control", "stdin"):
            socket = self.socket(channel)
            for message in frames:
                socket.send_multipart(message)
            self.assert_silent(socket, 0.5)
        # A valid message is still answered.
        socket = self.socket("shell")
        socket.send_multipart(good)
        self.assertTrue(socket.poll(5000))

    def test_other_protocols_are_ignored(self):
        import socket as net

        for channel in ("shell", "control", "stdin", "iopub", "hb"):
            for data in (b"GET / HTTP/1.0\r\n\r\n", os.urandom(500), b""):
                with net.create_connection((self.info["ip"], self.info[f"{channel}_port"])) as raw:
                    raw.sendall(data)
        self.assertEqual(self.kernel.run("1 + 1").result, "2")

    def test_clients_may_disconnect(self):
        for _ in range(20):
            socket = zmq.Context.instance().socket(zmq.DEALER)
            socket.linger = 0
            socket.setsockopt(zmq.IDENTITY, uuid.uuid4().bytes)
            socket.connect(f"tcp://{self.info['ip']}:{self.info['shell_port']}")
            Session(key=self.info["key"]).send(socket, "execute_request", {"code": "1"})
            socket.close()
        listener = zmq.Context.instance().socket(zmq.SUB)
        listener.connect(f"tcp://{self.info['ip']}:{self.info['iopub_port']}")
        listener.subscribe(b"")
        listener.close()
        self.assertEqual(self.kernel.run("1 + 1").result, "2")
        with self.assertRaises(Empty):
            self.kernel.client.get_shell_msg(timeout=0.2)


if __name__ == "__main__":
    unittest.main()
