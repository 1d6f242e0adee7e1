"""Letters of other scripts that are drawn like Latin ones, by script. Chosen by eye from Unicode's code charts."""

# Letters of living alphabets: they are read as Latin only inside a word that cannot be of their own language.
CYRILLIC = dict(zip("аАВеЕКМНоОрРсСТуУхХіІЅЈјёЁӏ", "aABeEKMHoOpPcCTyYxXiISJjeEl", strict=True))
GREEK = dict(
    zip("αΑΒεΕΖΗιΙκΚΜνΝοΟρΡτΤυΥχΧγϲ", "aABeEZHiIkKMvNoOpPtTuYxXyc", strict=True),
)
# Letters that no everyday alphabet puts beside the ones above: any word with them is dressed up.
RARE = (
    dict(zip("ѕһԁԛԝԍҽѵѡӀөʀԜԚҮүᏟᎪᏴᎬᏀᎻᏞᎷᏢᎡᏚᎢᏙᏔᏃᎥ", "shdqwgevwloRWQYyCABEGHLMPRSTVWZi", strict=True))
    | dict(zip("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘꞯꜱᴛᴜᴠᴡʏᴢ", "abcdefghijklmnopqstuvwyz", strict=True))
    | dict(zip("ɑɡıȷɩʋɾɐɯʇʌʍʎǝɟɥʞɹ", "agijivramtvwyefhkr", strict=True))
    | dict(zip("օոսցհղԱԼՏՍՕ", "onugh" + "nALSUO"[0:6], strict=True))
    | dict(zip("ꓐꓑꓒꓓꓔꓖꓗꓙꓚꓜꓝꓞꓟꓠꓡꓢꓣꓦꓧꓪꓫꓬꓮꓯꓰꓲꓳꓴ", "BPdDTGKJCZFfMNLSRVHWXYAaEIOU", strict=True))
)


def _run(first: int, letters: str) -> dict[str, str]:
    return {chr(first + n): letter for n, letter in enumerate(letters)}


_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# Signs that stand for a letter and that NFKC leaves alone or spells with brackets: negative circled and squared
# capitals, flag letters, parenthesised letters.
SIGNS = (
    _run(0x1F150, _ALPHABET)
    | _run(0x1F170, _ALPHABET)
    | _run(0x1F1E6, _ALPHABET)
    | _run(0x1F110, _ALPHABET)
    | _run(0x249C, _ALPHABET.lower())
)
