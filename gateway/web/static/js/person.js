// Whose page this is: said with every request of a script. In another tab somebody else may have signed in meanwhile.

export const whosePage = { "x-attest-person": document.body.dataset.person };
