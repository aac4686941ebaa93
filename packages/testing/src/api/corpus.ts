/** What the model says: prose with characters of two, three and four bytes. One entry per character. */
export const CORPUS: readonly string[] = [
  ...`The lock keeper reads the gauge before the gate moves. Water finds its level, and so does a queue: \
whoever waits is counted, whoever hurries is asked to wait. Façade, naïve, Übung, mañana — every mark \
is kept as it was written. 水は低きに流れる。 The canal carries what it can carry 🚤, no more, and the rest stays \
above the gate until there is room. 闸门先量水位,再放船。 A good keeper is seldom seen: the boats arrive one after \
another, the level hardly stirs, and at the end of the day the book shows what went through 📖. \
When the rain comes, the gate is opened a little earlier; when it stays away, a little later. 👩‍🚀 `,
];
