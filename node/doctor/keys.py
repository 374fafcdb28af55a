"""The key files of a directory: whether the program would use them, and whether the log knows them."""

from __future__ import annotations

from collections.abc import Callable, Collection

from keys.signer import PrivateKey
from node.doctor.findings import Finding, Words, fail, ok, warn
from sync_protocol.errors import Corrupt, Refused


def check_key(role: str, load: Callable[[], PrivateKey], speaking: bytes | None, pending: Collection[bytes]) -> Finding:
    """The key of `role` as `load` reads it; `speaking` is the public key that the log names, None where it is not told.

    `pending` are public keys of a rotation under way.
    """
    check = f"key-{role}"
    try:
        key = load()
    except Refused as refused:
        named = str(refused.members.get("next", "Correct what is named."))
        detail = Words(
            f"the {role} key cannot be used: {refused.detail}", f"kunci {role} tidak dapat dipakai: {refused.detail}"
        )
        return fail(check, detail, Words(named, f"Lakukan: {named}"))
    except (Corrupt, OSError) as error:
        words = error.detail if isinstance(error, Corrupt) else str(error.strerror)
        step = Words("Restore it from your key backup.", "Pulihkan dari cadangan kunci Anda.")
        return fail(check, Words(f"the {role} key: {words}", f"kunci {role}: {words}"), step)
    if speaking is None or key.public_key == speaking:
        return ok(check, Words(f"the {role} key can be used", f"kunci {role} dapat dipakai"))
    if speaking in pending:
        detail = Words(
            f"the rotation of the {role} key is not finished here", f"rotasi kunci {role} belum selesai di sini"
        )
        return warn(check, detail, Words("Give `simpul keys rotate` again.", "Jalankan lagi `simpul keys rotate`."))
    detail = Words(f"the log gives the word to another {role} key", f"log mengakui kunci {role} yang lain")
    step = Words(
        "Put back the newest key files from your key backup, or ask for a new invitation.",
        "Kembalikan berkas kunci terbaru dari cadangan, atau minta undangan baru.",
    )
    return fail(check, detail, step)
