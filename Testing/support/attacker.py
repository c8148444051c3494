"""A host that attacks the ports of a node.

On Linux every address 127.x.y.z is this machine's, so that the attacker has an address of its own.
"""

from __future__ import annotations

import socket

from pynetdicom import AE
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.transport import AddressInformation

ATTACKER = "127.0.0.66"
_MR = "1.2.840.10008.5.1.4.1.1.4"


def attack(port: int, content: bytes = b"", source: str = ATTACKER) -> socket.socket:
    """A connection of the attacker's that sends ``content`` and then nothing more."""
    one = socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(source, 0))
    one.sendall(content)
    return one


def is_closed(one: socket.socket) -> bool:
    one.settimeout(0.0)
    try:
        return one.recv(1 << 16) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def request_pdu(caller: str = "SCANNER") -> bytes:
    """An association request, as a scanner sends it."""
    entity = AE(caller)
    entity.add_requested_context(_MR)
    entity.requested_contexts[0].context_id = 1
    asked = A_ASSOCIATE()
    asked.application_context_name = "1.2.840.10008.3.1.1.1"
    asked.calling_ae_title, asked.called_ae_title = caller, "GLIOMASEG"
    here = AddressInformation("127.0.0.1", 0)
    asked.calling_presentation_address = asked.called_presentation_address = here
    asked.presentation_context_definition_list = entity.requested_contexts
    asked.maximum_length_received = 16384
    asked.implementation_class_uid = entity.implementation_class_uid
    return A_ASSOCIATE_RQ(asked).encode()


def established(port: int) -> socket.socket:
    """A connection whose association is established, to send it what pynetdicom would not."""
    one = attack(port, request_pdu(), source="127.0.0.1")
    assert one.recv(1) == b"\x02", "accepted"
    one.recv(1 << 16)
    return one
