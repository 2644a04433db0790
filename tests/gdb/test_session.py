"""The protocol without gdb: each packet, the stops, and whatever else a client may do."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.gdb.support import Client, Guest, guest
from tests.support import wait_until
from vmm.gdb.packets import PACKET_SIZE

#: The loop is at 7C02h, and its store at 7C03h; what it writes is at 500h.
SOURCE = """
        xor ax, ax
again:  inc ax
        mov [0x500], ax
        jmp again
"""
AGAIN, STORE, JUMP = 0x7C02, 0x7C03, 0x7C06


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Guest]:
    with guest(SOURCE, tmp_path, vcpus=2) as started:
        yield started


@pytest.fixture
def client(running: Guest) -> Iterator[Client]:
    with Client(running.server.address.port) as connected:
        yield connected


def fields(stop: str) -> dict[str, str]:
    """The parts of a T packet, and its signal."""
    pairs = [part.split(":", 1) for part in stop[3:].rstrip(";").split(";")]
    return {"signal": stop[1:3], **dict(pairs)}


def wait_until_it_runs(running: Guest) -> None:
    wait_until(lambda: running.machine.vcpus[0].instructions > 0, "the guest runs")


def pc(client: Client) -> int:
    return int.from_bytes(bytes.fromhex(client.ask("p8")), "little")


def test_what_is_supported(client: Client) -> None:
    answer = client.ask("qSupported:multiprocess+;swbreak+;hwbreak+").split(";")
    assert {"swbreak+", "hwbreak+", "qXfer:features:read+", "vContSupported+"} <= set(answer)
    assert f"PacketSize={PACKET_SIZE:x}" in answer
    assert client.ask("vCont?") == "vCont;c;C;s;S"
    assert client.ask("vMustReplyEmpty") == ""
    assert client.ask("qAttached") == "1"
    assert client.ask("QStartNoAckMode") == "OK"
    assert client.ask("qC") == "QC1"


def test_it_is_held_before_the_first_instruction(client: Client) -> None:
    assert fields(client.ask("?"))["signal"] == "05"
    assert pc(client) == 0x7C00


def test_the_description_is_that_of_the_registers(client: Client) -> None:
    text, at = "", 0
    while True:
        part = client.ask(f"qXfer:features:read:target.xml:{at:x},100")
        text, at = text + part[1:], at + len(part) - 1
        if part[0] == "l":
            break
    root = ElementTree.fromstring(text)
    found = list(root.iter("reg"))
    assert [int(register.attrib["regnum"]) for register in found] == list(range(len(found)))
    names = [register.attrib["name"] for register in found]
    assert names[:10] == ["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "eip", "eflags"]
    assert names[10:16] == ["cs", "ss", "ds", "es", "fs", "gs"]
    values = client.ask("g")
    assert len(values) == sum(int(register.attrib["bitsize"]) // 4 for register in found)
    assert root.findtext("architecture") == "i8086"
    assert client.ask("qXfer:features:read:other.xml:0,100") == "E00"


def test_registers(client: Client) -> None:
    assert client.ask("P0=78563412") == "OK"
    assert client.ask("p0") == "78563412"
    before = client.ask("g")
    assert before.startswith("78563412")
    assert client.ask("G" + "01000000" + before[8:]) == "OK"
    assert client.ask("p0") == "01000000"
    assert client.ask("p10") == "x" * 20  # st0: there is no coprocessor
    for bad in ("P10=00", "p999", "p-1", "pxy", "P0=0011223344", "P0=x", "G00", "P0"):
        assert client.ask(bad).startswith("E"), bad
    assert client.ask("g") == "01000000" + before[8:]


def test_memory(running: Guest, client: Client) -> None:
    assert client.ask("M500,4:01020304") == "OK"
    assert client.ask("m500,4") == "01020304"
    assert running.machine.memory.read(0x500, 4) == b"\1\2\3\4"
    assert client.ask(b"X500,3:\x7d\x03\x7d\x5d\xff") == "OK"
    assert client.ask("m500,4") == "237dff04"
    # As much as there is, and an error where there is nothing.
    assert client.ask("mffffe,8") == "0000"
    for nowhere in ("m100000,4", "mffffffffff,1", "Mfffff,2:0000", "m0,0"):
        assert client.ask(nowhere) == "E0e", nowhere
    for bad in ("m", "m0", "m0,-1", "mx,1", "M0,2:00", "M0,1:zz", "X0,1:"):
        assert client.ask(bad) == "E16", bad
    assert len(client.ask("m0,fffffff")) <= PACKET_SIZE


def test_threads(client: Client) -> None:
    assert client.ask("qfThreadInfo") == "m1,2"
    assert client.ask("qsThreadInfo") == "l"
    assert bytes.fromhex(client.ask("qThreadExtraInfo,2")) == b"vCPU 1: runnable"
    answers = {name: client.ask(name) for name in ("T1", "T2", "T3", "Hg2", "Hg9", "Hx1", "Hc-1")}
    assert answers == {
        "T1": "OK",
        "T2": "OK",
        "T3": "E16",
        "Hg2": "OK",
        "Hg9": "E16",
        "Hx1": "E16",
        "Hc-1": "OK",
    }
    threads = ElementTree.fromstring(client.ask("qXfer:threads:read::0,fff")[1:])
    assert [thread.attrib["id"] for thread in threads] == ["1", "2"]


def test_breakpoints_and_steps(client: Client) -> None:
    client.ask("qSupported:swbreak+;hwbreak+")
    assert client.ask(f"Z0,{STORE:x},1") == "OK"
    stop = fields(client.ask("vCont;c:1"))
    assert (stop["signal"], stop["thread"], stop["swbreak"]) == ("05", "1", "")
    assert int.from_bytes(bytes.fromhex(stop["08"]), "little") == STORE
    assert client.ask(f"z0,{STORE:x},1") == "OK"
    assert fields(client.ask("vCont;s:1"))["thread"] == "1"
    assert pc(client) == JUMP
    assert client.ask(f"Z1,{AGAIN:x},1") == "OK"
    assert "hwbreak" in fields(client.ask("c"))


def test_watchpoints(client: Client) -> None:
    assert client.ask("Z2,501,1") == "OK"
    stop = fields(client.ask("c"))
    assert int(stop["watch"], 16) == 0x501
    assert client.ask("z2,501,1") == "OK"
    assert client.ask("Z4,500,2") == "OK"
    assert "awatch" in fields(client.ask("c"))
    for bad in ("Z2,500,0", "Z0,100000000,1", "Z0", "Z1,x,1"):
        assert client.ask(bad) == "E16", bad
    assert client.ask("Z5,500,1") == ""


def test_only_the_chosen_vcpu_goes(client: Client) -> None:
    client.ask(f"Z0,{JUMP:x},1")
    assert fields(client.ask("vCont;c:2"))["thread"] == "2"
    client.ask("Hg1")
    assert pc(client) == 0x7C00


def test_both_at_breakpoints_of_their_own_are_told(client: Client) -> None:
    """Whichever is told second meets its breakpoint again: nothing is lost."""
    client.ask(f"Z0,{STORE:x},1")
    told = [fields(client.ask("c"))["thread"] for _ in range(16)]
    assert set(told) == {"1", "2"}
    values = []
    for thread in (1, 2):
        client.ask(f"Hg{thread}")
        values.append(int.from_bytes(bytes.fromhex(client.ask("p0")), "little"))
    # Each increment is followed by a stop, but for the last of each.
    assert sum(values) - len(told) in (0, 1), (values, told)


def test_both_meet_watchpoints(client: Client) -> None:
    """A watchpoint that was met is told, also when another vCPU stopped first."""
    client.ask("Z2,500,2")
    told = [fields(client.ask("c"))["thread"] for _ in range(16)]
    values = []
    for thread in (1, 2):
        client.ask(f"Hg{thread}")
        values.append(int.from_bytes(bytes.fromhex(client.ask("p0")), "little"))
    # A vCPU whose stop is not told yet has incremented once more; one before its store as well.
    assert 0 <= sum(values) - len(told) <= 1, (values, told)


def test_interrupt(client: Client) -> None:
    client.send(b"c")
    client.socket.sendall(b"\x03")
    assert fields(client.receive().decode())["signal"] == "02"
    for _ in range(100):  # a busy host may give the guest no time at all in one turn
        client.send(b"vCont;c")
        time.sleep(0.05)
        client.socket.sendall(b"\x03\x03")
        assert fields(client.receive().decode())["signal"] == "02"
        if AGAIN <= pc(client) <= JUMP:
            return
    pytest.fail("it does not get to its loop")


def test_a_packet_while_it_runs_holds_it(client: Client) -> None:
    client.send(b"c")
    assert fields(client.ask("m500,1"))["signal"] == "02"
    assert len(client.receive()) == 2


def test_a_connection_that_is_lost(running: Guest) -> None:
    """The guest goes on without its breakpoints; the next client holds it again."""
    with Client(running.server.address.port) as client:
        client.ask(f"Z0,{JUMP + 2:x},1")
        client.send(b"c")
        wait_until_it_runs(running)
    with Client(running.server.address.port) as client:
        first = int(client.ask("m500,2"), 16)
        assert AGAIN <= pc(client) <= JUMP
        client.ask(f"Z0,{STORE:x},1")
    # It was held when the second one went, and stays so.
    with Client(running.server.address.port) as client:
        assert int(client.ask("m500,2"), 16) == first


def test_a_second_client_is_turned_away(running: Guest, client: Client) -> None:
    assert client.ask("qC") == "QC1"
    with Client(running.server.address.port) as other, pytest.raises((EOFError, OSError)):
        other.ask("qC")
    assert client.ask("qC") == "QC1"


def test_detach(running: Guest, client: Client) -> None:
    assert client.ask("D") == "OK"
    wait_until_it_runs(running)


@pytest.mark.parametrize("packet", [b"k", b"vKill;1"])
def test_kill(running: Guest, client: Client, packet: bytes) -> None:
    client.send(packet)
    result = running.finish()
    assert result.outcome == "interrupted"
    assert "killed by the debugger" in result.explanation


def test_the_end_of_the_guest_is_told(tmp_path: Path) -> None:
    with (
        guest("mov al, 7; out 0xf4, al", tmp_path) as running,
        Client(running.server.address.port) as client,
    ):
        assert client.ask("c") == "W07"


def test_a_step_over_a_port_access(tmp_path: Path) -> None:
    """The exit that it makes is dealt with on the way: one step is one instruction."""
    with (
        guest("nop; in al, 0x99; nop; hlt", tmp_path) as running,
        Client(running.server.address.port) as client,
    ):
        places = []
        for _ in range(3):
            client.ask("s")
            places.append(pc(client))
        assert places == [0x7C01, 0x7C03, 0x7C04]
        assert client.ask("p0").startswith("ff")


def test_monitor_commands(client: Client) -> None:
    def command(text: str) -> str:
        client.send(b"qRcmd," + text.encode().hex().encode())
        output = b""
        while (answer := client.receive()) != b"OK":
            assert answer[:1] == b"O", answer
            output += bytes.fromhex(answer[1:].decode())
        return output.decode()

    assert "monitor info apic" in command("help")
    assert "Unknown command 'nonsense'" in command("nonsense")
    assert command("info monitor") == "vCPU 0: idle\nvCPU 1: idle\n"
    assert command("info vcpus 1") == "vCPU 1: runnable at 0000:7C00, 0 instructions\n"
    assert "There is no vCPU 2" in command("info vcpus 2")
    assert "There is no vCPU -1" in command("info vcpus -1")
    assert "  id            01000000\n" in command("info apic 1")
    assert "cs 0000 base 00000000" in command("info registers")
    assert "vCPU 1:" in command("info stats")
    assert client.ask("qRcmd,zz") == "E16"


def test_damage_is_asked_for_again(client: Client) -> None:
    client.socket.sendall(b"$g#00")
    assert client.socket.recv(1) == b"-"
    assert client.ask("qC") == "QC1"
    client.socket.sendall(b"-")  # it did not arrive
    assert client.receive() == b"QC1"


def test_anything_is_survived(running: Guest) -> None:
    """Random packets, of plausible beginnings, on several connections."""
    source = random.Random(7)
    words = [
        *(b"g", b"G", b"p", b"P", b"m", b"M", b"X", b"H", b"T", b"Z0", b"z2", b"vCont", b"vCont;"),
        *(b"qXfer:features:read:", b"qXfer:threads:read::", b"qRcmd,", b"qThreadExtraInfo,", b"c"),
        *(b"qSupported:", b"Q", b"?", b"s", b"S05", b"vFile:open:", b"qSymbol::", b"\xff\x00"),
    ]
    marks = [b"0", b"1", b"-1", b",", b";", b":", b"=", b"ffffffffff", b"7c00", b"c", b"s", b"\xc3"]
    for _ in range(8):
        with Client(running.server.address.port) as client:
            for _ in range(60):
                payload = source.choice(words) + b"".join(
                    source.choice(marks) for _ in range(source.randrange(8))
                )
                data = b"$%s#%02x" % (payload, sum(payload) & 0xFF)
                if source.random() < 0.1:
                    data = data[: source.randrange(len(data))] + bytes([source.randrange(256)])
                client.socket.sendall(data)
            client.socket.sendall(b"\x03")
    with Client(running.server.address.port) as client:
        assert client.ask("qC").startswith("QC")
        assert client.ask("m500,2") != ""
