"""How many tokens a dialogue has, as far as that can be said without the model's tokenizer. Pure."""

import re
from collections.abc import Iterable

PER_MESSAGE = 8
"""Tokens that a message has beside its text: who speaks, where it begins and ends."""
_CHEAP_SIGNS = r"\x00-\x7f\u3000-\u3003\u3005\u3007-\u3012\u3014-\u3017\uff01-\uff5e\uffe5·—‘’“”…"
# The common characters of China (GB 2312, level 1) and of Taiwan and Hong Kong (Big5, level 1): row, then cell.
_GB_2312 = bytes(byte for row in range(0xB0, 0xD8) for cell in range(0xA1, 0xFF) for byte in (row, cell))
_BIG5 = bytes(
    byte
    for row in range(0xA4, 0xC7)
    for cell in (*range(0x40, 0x7F), *range(0xA1, 0xFF))
    if (row, cell) < (0xC6, 0x7F)
    for byte in (row, cell)
)
# Common once, and yet no pieces of ChatGLM's vocabulary.
_TAKEN_APART = frozenset(
    "仳伋伕倀倥偭偯偺傖傚傯僇僎僩儅儈儐儔儳儸儻兗冑刖剴劂劊劓劬劻勗勦卹啁啗啣嗉嗾嘐嘮噥噯囀囈囌囪圬圯坩坼"
    "堉堊堝堠塋塒塹塽墦壎壙夤奩姅媧媼嫗嫵嬈嬋嬝孓孿屘屝屨嵯嶇嶔巉帟幃幗幛廄彆徬怫愒愴愾慇慍慝慼憮懍懣懾抆"
    "捫掄搆摑摭撙撢撾擭擻攆攙敉敔斕昤暍暸杗枓枴柙柝栘梂梔梡棻楛榣榦槨橢橾檠檣檮櫝櫬櫺欐歜歟殮毖毚氬氳汍沍"
    "沘泖泜洎洫浹涊渙湔湣湩溘潠潯澠澦澴濘濩濰瀆瀲灤煆燜燠燬燴燸燾牘牴犖犛狽猓猙獰獷玀玆琺琿璣璦瓔瓖瓚甌甽"
    "畎畚疢痳瘉瘧瘺癆癘皚皰睪矓砠硃硎磧礬祆秈穋穠穡笮箄箝箠篛簞簣籀籣籥籮糝糢糰紆紇紉紜紱紲紼絀絛絰綞綰緇"
    "緘緙緲縉縊縐縑縝縯縲縴縵縿繅繈繒繙罈罌羋羶羼耑耜聱肫胼脤脰膂臏臚臢舨芟芣芰芻莧菔萇萵葷蓀蓆蓊蔆薺藷藹"
    "蘗蚶蛄蛉蜆蝨螻蟈蟯袞裊裒裯褊褕褡褽襠襤覜覦覬覲觔觴觼訌訏訐訑訕訖訢詁詆詖詨詬詻詼誑誚誥誧誶諂諄諉諶諼"
    "謐謫譁譆譎譙譟譫讒讖讜谰豭豳貍貲賁賅賒賡賸賻贍贓贗跦跼踡踫蹕蹣躂躅躊躑躓躡躪軏軔軛軻輊輓輜輞輥輦輳轂"
    "轔轡迆迨逖遘遝邐郾鄗鄘鄴鄹酈酴醱釅釙釦釩釭鈇鈐鈸鈹鈽鈾鉍鉑鉚鉻鉼銨銬銲銻銼鋇錕錙錮鍚鎘鎰鏍鏜鏝鏤鏨鐃"
    "鐲鐳鐺鑠鑣鑤鑪鑷閎閡闈闋闐阬陘陬陴隄雊霤霪靦鞦韁韃韆韉韹頊頜頷顓顰颶颺颼飩飭餛餞餽餿饉饜駑駙駟駢騁騖"
    "騫騵騾驀驃骯髑髖髡魎鮪鯀鯈鯧鯽鰥鰾鱔鱖鱟鱸鴃鴆鴒鴕鴣鵡鵪鶸鷂鷓鷥鸛黷鼇鼕鼙鼴齜齟齦齧齪齬齲齷"
)
_CHEAP = {*_GB_2312.decode("gb2312", "ignore"), *_BIG5.decode("big5")} - _TAKEN_APART
_DEAR = re.compile(f"[^{_CHEAP_SIGNS}{''.join(sorted(_CHEAP))}]+")
"""What tokenizers may take apart into bytes: emoji, rare characters, and scripts that they were not made for."""
_LATIN = re.compile("[A-Za-z ]")
"""Words in Latin letters: tokenizers take two to four of these together."""
_IDEOGRAPH = re.compile("[\u4e00-\u9fff]")


def likely_tokens(text: str) -> int:
    """Return about how many tokens a message has, rather too many: half a Latin letter, three quarters an ideograph.

    ChatGLM3's tokenizer gives a third, and a half to three quarters; a digit is a token. For the rest as `most_tokens`.
    """
    latin, ideographs = len(_LATIN.findall(text)), len(_IDEOGRAPH.findall(text))
    return PER_MESSAGE + _most(text) - latin // 2 - ideographs // 4


def most_tokens(texts: Iterable[str]) -> int:
    """Return a bound of the tokens of messages: one a character, and one a byte of UTF-8 where characters are rarer."""
    return sum(PER_MESSAGE + _most(text) for text in texts)


def _most(text: str) -> int:
    dear = "".join(_DEAR.findall(text))
    return len(text) - len(dear) + len(dear.encode("utf-8", "surrogatepass"))
