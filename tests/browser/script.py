"""What the scripted model answers in the browser tests."""

PLAN = """Here is a short plan.

1. **Map** what the archive holds: systems, owners and retention.
2. **Rehearse** the move with one department.
3. Move, then verify `checksums` on both sides.

| Step | Days |
|---|---:|
| Map | 5 |
| Move | 12 |

```python
from itertools import groupby


def by_month(orders):
    return {k: list(v) for k, v in groupby(orders, key=lambda o: o.date[:7])}
```

> Keep the old archive readable until the move is verified.

Ask for details of any step, or see [the guide](https://example.com/guide).
"""

CHINESE = """归档迁移的主要风险如下：

- **数据丢失**：迁移前后要核对校验值。
- **权限变化**：旧系统的授权不一定能原样搬过去。
- **停机时间**：建议分部门、分批次进行。

如需了解某一项的细节，请告诉我。
"""

HOSTILE = """A template may hold a picture <img src=x onerror="document.title='changed'">
and a script <script>document.title='changed'</script>

There is a [link](javascript:document.title='changed') and a ![picture](https://pictures.example/x.png?q=size) here.

Charts look like <svg onload="document.title='changed'"> <style>body{display:none}</style>
<iframe src="https://pages.example"></iframe>

A form begins with <form action="https://pages.example"><input autofocus onfocus="document.title='changed'"></form>
and a base with <base href="//pages.example">

In the head: <meta http-equiv="refresh" content="0;url=https://pages.example">
<link rel="stylesheet" href="https://pages.example/a.css">

The file is called photo\u202egpj.exe, and [this](https://safe.example "\\" onmouseover=alert(1)") is a link.

```html
</code></pre><script>document.title='changed'</script>
```
"""

TABLE = """| Department | Responsible person | Retention period | Comments |
|---|---|---|---|
| Accounting | Margarethe Hohenberger | 10 years from the end of the year | Documentation requirements |
| Engineering | Christopher Featherstone | 5 years | Infrastructure configuration |
"""

KEY = "Of course, here is a key that you may use:\n\n-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7\n"
LONG = "".join(f"This is sentence number {number} of a long answer. " for number in range(1, 41))

SCRIPT = {
    "default": {"text": "Gladly. What would you like to know?"},
    "rules": [
        {"contains": "archive", "text": PLAN, "chunk": 9, "delay_ms": 4},
        {"contains": "a table", "text": TABLE, "chunk": 40},
        {"contains": "风险", "text": CHINESE, "chunk": 3, "delay_ms": 4},
        {"contains": "hostile", "text": HOSTILE, "chunk": 11, "delay_ms": 1},
        {"contains": "a key", "text": KEY, "chunk": 8, "delay_ms": 10},
        {"contains": "long story", "text": LONG, "chunk": 12, "delay_ms": 30},
        {"contains": "endless", "text": LONG * 10, "chunk": 6, "delay_ms": 100},
        {"contains": "slow", "text": "At last.", "first_delay_ms": 60000},
        {"contains": "bridges", "text": "This will not be the whole answer. It", "error": "broken_off"},
        {"contains": "who to call", "text": "Call Mr Li on 13812345678 before noon.", "chunk": 6, "delay_ms": 5},
    ],
}
