"""Random mutations of FITS files: of cards, of whole headers, of blocks and of single bits."""

from __future__ import annotations

import io
import random
import re
from typing import NamedTuple

from astropy.io import fits

CARD, BLOCK = 80, 2880
END = b"END".ljust(CARD)

STRUCTURE = (
    "SIMPLE", "XTENSION", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "PCOUNT", "GCOUNT", "TFIELDS", "EXTEND", "TFORM1",
    "TFORM2", "TFORM3", "TTYPE1", "TTYPE2", "TTYPE3",
)  # fmt: skip
"""Keywords that are mutated in the headers of all formats."""

SETTINGS = {
    "BITPIX": (8, 16, 32, 64, -32, -64, -31, 0, "-32.0", "'-32'"),
    "NAXIS": (0, 1, 2, 3, -1, 999, "2.0"),
    "NAXIS1": (0, 1, 7, 32, 100, 200, 239, 241, 3904, 2880, -1, 10**6, 10**12, 10**17, 10**30, "240.0"),
    "NAXIS2": (0, 1, 2, 4, 5, 19, 20, 21, 199, 200, 201, 640, 2880, -1, 10**6, 10**12, 10**17, "5.0"),
    "NAXIS3": (1, 2, 0),
    "PCOUNT": (0, 1, 2880, -1, 10**12, 2**31),
    "GCOUNT": (0, 1, 2, -1, 10**9),
    "GROUPS": ("T", "F"),
    "BSCALE": (1, "1.0", 2, "1.0e0", "1.0e-1", 0, "2.5D0", "'x'", ""),
    "BZERO": (0, "0.0", 32768, 2147483648, "1.0e3", "-0.0", "1.5", "'x'", ""),
    "BLANK": (0, -32768, 1, "1.0"),
    "TFIELDS": (0, 1, 3, 8, 999, 1000, -1, "8.0"),
    "THEAP": (0, 12, 2880),
    "TSCAL": (1, "2.0", "1.0e0", -1, 0),
    "TZERO": (0, 32768, 2147483648, "0.5", "1.0e3"),
    "TNULL": (0, 4, 266, -32768),
    "TDIM": ("'(1)'", "'(1,1)'", "'(240,1)'", "'(3,7)'", "'(200)'"),
    "TFORM": ("'E'", "'1E'", "'D'", "'J'", "'2E'", "'0E'", "'240E'", "'240D'", "'8A'", "'0A'", "'PE(5)'", "'X'", "'e'",
              "'E '", "'L'", "'I'", "'K'", "'999999999E'", "'21A'", "'6A'"),
    "TTYPE": ("'flux'", "'LOGLAM'", "'ivar'", "''", "'class'", "'Z'", "'WAVELENGTH'", "'odd'", "'AXIS.1: 2'"),
    "XTENSION": ("'IMAGE'", "'TABLE'", "'BINTABLE'", "'bintable'", "'BINTABLE '", "1"),
    "SIMPLE": ("T", "F", "1", "''"),
    "EXTEND": ("T", "F", "1"),
    "ZIMAGE": ("T", "F"),
}  # fmt: skip
"""Values that a card may be set to; a number is put behind the keywords of columns."""

ODD_VALUES = (
    "", "''", "'", "1", "0", "-7", "1.0e3", "1.5E2", "2.D0", "1e400", "-1.0E-400", "NaN", "inf", "T", "F", "Tx",
    "(1, 2)", "1 2", "- 5.0", "1.0E 1", "007", "00.50", "+3", "1,5", "0x10", "1_0", "9" * 25, "'it''s'", "'a''/ b'",
    "'a' b'", "'AXIS.1: 2'", "'STAR   '", "' STAR'", "'SKY'", "'GALAXY' / x", "'266'", "266", "266.0", "266.5", "'open",
    "[3]", "1.0/ comment", "1.0 / \x7f", "5\x00", "5\t", "'tab\t'", "'&'", "'long&'",
)  # fmt: skip


class Part(NamedTuple):
    """One HDU of a file."""

    cards: list[bytes]
    """Cards of the header up to the END card, which is not among them."""

    data: bytes
    """Data with their padding."""


def parts_of(data: bytes, most: int) -> list[Part]:
    """Return the first HDUs of a valid file; the last one takes all the bytes that follow."""
    parts = []
    with fits.open(io.BytesIO(data), memmap=False) as hdus:
        spans = [hdu.fileinfo() for hdu in hdus[:most]]
    for i, span in enumerate(spans):
        header = data[span["hdrLoc"] : span["datLoc"]]
        cards = [header[at : at + CARD] for at in range(0, len(header), CARD)]
        end = spans[i + 1]["hdrLoc"] if i + 1 < len(spans) else len(data)
        parts.append(Part(cards[: cards.index(END)], data[span["datLoc"] : end]))
    return parts


def rendered(parts: list[Part]) -> bytes:
    """Return the bytes of a file of some HDUs."""
    out = b""
    for part in parts:
        header = b"".join([*part.cards, END])
        out += header.ljust(-(-len(header) // BLOCK) * BLOCK) + part.data
    return out


def mutated(parts: list[Part], keys: tuple[str, ...], rng: random.Random) -> tuple[str, bytes]:
    """Return the name of a random mutation, and the bytes of the mutated file.

    Parameters
    ----------
    parts : HDUs of the valid file
    keys : keywords that the reader of the format needs, which are mutated most often
    rng : source of the randomness
    """
    kind = rng.choice(KINDS)
    if kind in WHOLE:
        return kind.__name__, kind(rendered(parts), rng)
    if kind in HDUS:
        return kind.__name__, rendered(kind(parts, rng))
    chosen = rng.randrange(len(parts))
    cards = list(parts[chosen].cards)
    target = _target(cards, (*STRUCTURE, *keys), rng)
    name = f"{kind.__name__} in HDU {chosen}, {cards[target][:30]!r}"
    kind(cards, target, rng)
    return name, rendered([*parts[:chosen], Part(cards, parts[chosen].data), *parts[chosen + 1 :]])


def _target(cards: list[bytes], keys: tuple[str, ...], rng: random.Random) -> int:
    """Return the number of a card, more often of one of the ``keys``."""
    needed = [i for i, card in enumerate(cards) if card[:8].decode("latin1").strip() in keys]
    return rng.choice(needed) if needed and rng.random() < 0.8 else rng.randrange(len(cards))


def _fitted(text: bytes | str) -> bytes:
    text = text.encode("latin1") if isinstance(text, str) else text
    return text[:CARD].ljust(CARD)


# One card


def flip_bits(cards, i, rng):
    card = bytearray(cards[i])
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        card[rng.randrange(CARD)] ^= 1 << rng.randrange(8)
    cards[i] = bytes(card)


def flip_bits_of_the_value(cards, i, rng):
    card = bytearray(cards[i])
    card[rng.randrange(8, 32)] ^= 1 << rng.randrange(8)
    cards[i] = bytes(card)


def replace_bytes(cards, i, rng):
    card = bytearray(cards[i])
    for _ in range(rng.randint(1, 3)):
        card[rng.randrange(CARD)] = rng.choice([rng.randrange(256), rng.randrange(32, 127)])
    cards[i] = bytes(card)


def delete_card(cards, i, rng):
    del cards[i]


def blank_card(cards, i, rng):
    cards[i] = b" " * CARD


def duplicate_card(cards, i, rng):
    cards.insert(rng.choice([i, i + 1, rng.randrange(len(cards) + 1)]), cards[i])


def duplicate_with_another_value(cards, i, rng):
    value = rng.choice([cards[rng.randrange(len(cards))][10:], rng.choice(ODD_VALUES).encode("latin1"), b" 3"])
    cards.insert(rng.choice([i, i + 1, rng.randrange(len(cards) + 1)]), _fitted(cards[i][:10] + value))


def swap_cards(cards, i, rng):
    other = rng.randrange(len(cards))
    cards[i], cards[other] = cards[other], cards[i]


def change_case_of_the_keyword(cards, i, rng):
    cards[i] = rng.choice([bytes.lower, bytes.title, bytes.swapcase])(cards[i][:8]) + cards[i][8:]


def misplace_the_keyword(cards, i, rng):
    key, rest = cards[i][:8].strip(), cards[i][10:]
    cards[i] = _fitted(
        rng.choice(
            [
                b" " + cards[i],
                key + b"= " + rest,
                key + b" = " + rest,
                cards[i][:8] + b"=" + rest.lstrip(),
                cards[i][:8] + b"  " + rest,
                cards[i][:9] + rest,
                b"HIERARCH " + key + b" = " + rest.lstrip(),
                b"HIERARCH " + key.lower() + b"=" + rest.lstrip(),
                b"HIERARCH A " + key + b" = " + rest.lstrip(),
                key[:7].ljust(7) + b"\t= " + rest,
                b"COMMENT " + cards[i],
            ]
        )
    )


def insert_hierarch(cards, i, rng):
    card = _fitted(b"HIERARCH " + cards[i][:8].strip() + b" = " + rng.choice(ODD_VALUES).encode("latin1"))
    cards.insert(rng.choice([i, i + 1]), card)


def continue_card(cards, i, rng):
    if rng.random() < 0.3:
        cards[i] = _fitted(cards[i][:10] + b"'abc&'")
    more = ["CONTINUE  'abc'", "CONTINUE  5", "CONTINUE", "CONTINUE  '' / x", "continue 'a'"]
    cards.insert(i + 1, _fitted(rng.choice(more)))


def rewrite_the_value(cards, i, rng):
    cards[i] = _fitted(cards[i][:10].decode("latin1") + rng.choice(["", " ", " " * 15]) + rng.choice(ODD_VALUES))


def rewrite_the_number(cards, i, rng):
    """Write the number of a card in another way, which may be within the standard or not."""
    match = re.match(rb"(.{8}= +)([-+.\dED]+)(.*)", cards[i], re.DOTALL)
    if match is None or not re.fullmatch(rb"[-+]?\d*\.?\d+(E[-+]?\d+)?", match[2]):
        return rewrite_the_value(cards, i, rng)
    value = float(match[2])
    forms = ["%.16e", "%.16E", "%r", "%.10e", "+%r", "%.0f", "%.3f", "'%r'", "%re0", "%r E0", "%rD0", "%rd0", "0%r"]
    cards[i] = _fitted(match[1] + (rng.choice(forms) % value).encode() + match[3])
    return None


def put_a_byte_that_is_not_ascii(cards, i, rng):
    card = bytearray(cards[i])
    slash = card.find(b"/")
    place = rng.choice([range(8), range(10, 31), range(slash if slash > 0 else 40, CARD)])
    card[rng.choice(place)] = rng.choice([0xE9, 0xA0, 0x85, 0x00, 0x0A, 0x09, 0x7F, 0xFF])
    cards[i] = bytes(card)


def set_a_card(cards, i, rng):
    """Give a card of the structure or scale another value, or insert it."""
    key = rng.choice(list(SETTINGS))
    value = rng.choice(SETTINGS[key])
    if key in ("TSCAL", "TZERO", "TNULL", "TDIM", "TFORM", "TTYPE"):
        key += str(rng.choice([1, 2, 3, 4, 5, 6, 7, 8, 12, 14]))
    comment = rng.choice(["", " / text", " / \xe9"])
    card = _fitted(f"{key:<8}= {value!s:>20}{comment}" if rng.random() < 0.8 else f"{key:<8}= {value}{comment}")
    here = [n for n, other in enumerate(cards) if other[:8] == card[:8]]
    if here and rng.random() < 0.8:
        cards[here[0]] = card
    else:
        cards.insert(rng.choice([min(5, len(cards)), len(cards), rng.randrange(len(cards) + 1)]), card)


def end_early(cards, i, rng):
    cards[i] = _fitted(rng.choice(["END", "END x", "END     = 5", "ENDING  = 5", "end"]))


# HDUs


def drop_a_part(parts, rng):
    i = rng.randrange(len(parts))
    return [*parts[:i], *parts[i + 1 :]] or parts


def repeat_a_part(parts, rng):
    i = rng.randrange(len(parts))
    return [*parts[: i + 1], *parts[i:]]


def swap_parts(parts, rng):
    i, j = rng.randrange(len(parts)), rng.randrange(len(parts))
    swapped = list(parts)
    swapped[i], swapped[j] = swapped[j], swapped[i]
    return swapped


def empty_a_part(parts, rng):
    i = rng.randrange(len(parts))
    return [*parts[:i], Part(parts[i].cards, b""), *parts[i + 1 :]]


def flip_bits_of_the_data(parts, rng):
    i = rng.choice([i for i, part in enumerate(parts) if part.data])
    data = bytearray(parts[i].data)
    for _ in range(rng.choice([1, 1, 3, 30, 300])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return [*parts[:i], Part(parts[i].cards, bytes(data)), *parts[i + 1 :]]


# The whole file


def truncate(data, rng):
    return data[: rng.randrange(len(data))]


def truncate_at_a_block(data, rng):
    return data[: BLOCK * rng.randrange(len(data) // BLOCK)]


def insert_a_block(data, rng):
    at = BLOCK * rng.randrange(len(data) // BLOCK + 1)
    start = BLOCK * rng.randrange(len(data) // BLOCK)
    block = rng.choice([bytes(BLOCK), b" " * BLOCK, data[start : start + BLOCK], rng.randbytes(BLOCK)])
    return data[:at] + block + data[at:]


def remove_a_block(data, rng):
    at = BLOCK * rng.randrange(len(data) // BLOCK)
    return data[:at] + data[at + BLOCK :]


def zero_a_block(data, rng):
    at = BLOCK * rng.randrange(len(data) // BLOCK)
    return data[:at] + bytes(BLOCK) + data[at + BLOCK :]


def lose_bytes(data, rng):
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.choice([1, 4, 80]) :]


def replace_bytes_anywhere(data, rng):
    out = bytearray(data)
    for _ in range(rng.choice([1, 10, 40])):
        out[rng.randrange(len(out))] = rng.randrange(256)
    return bytes(out)


WHOLE = (
    truncate,
    truncate_at_a_block,
    insert_a_block,
    remove_a_block,
    zero_a_block,
    lose_bytes,
    replace_bytes_anywhere,
)
HDUS = (drop_a_part, repeat_a_part, swap_parts, empty_a_part, flip_bits_of_the_data)
CARDS = (
    flip_bits,
    flip_bits_of_the_value,
    replace_bytes,
    delete_card,
    blank_card,
    duplicate_card,
    duplicate_with_another_value,
    swap_cards,
    change_case_of_the_keyword,
    misplace_the_keyword,
    insert_hierarch,
    continue_card,
    rewrite_the_value,
    rewrite_the_number,
    put_a_byte_that_is_not_ascii,
    set_a_card,
    end_early,
)
KINDS = (*WHOLE, *HDUS, *CARDS, *CARDS, flip_bits, set_a_card, set_a_card, flip_bits_of_the_data)
