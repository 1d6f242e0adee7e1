"""A person's own conversations: what the chat page shows again, and what later turns send to the model.

This is not the audit log. It can be deleted by its owner, holds delivered text only, and proves nothing.
"""
