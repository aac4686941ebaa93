/** Somebody to look at: twelve people who ask, a nightly job, and one who asks far too often, until `signal`. */
export async function makeLoad(url: string, signal: AbortSignal): Promise<void> {
  const post = (path: string, user: string, tier: string) =>
    fetch(url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-user': user, 'x-tier': tier },
      body: JSON.stringify({ question: 'How does a lock work?' }),
      signal,
    }).then((response) => response.text());
  for (let second = 0; !signal.aborted; second++) {
    // A rush of a minute every four.
    const calls = second % 240 > 180 ? 12 : 3;
    for (let i = 0; i < calls; i++) {
      const user = `user-${Math.floor(Math.random() * 12)}`;
      void post(i % 2 === 0 ? '/ask' : '/story', user, 'paid').catch(() => {});
    }
    if (second % 3 === 0) void post('/ask', 'impatient', 'free').catch(() => {});
    if (second % 5 === 0) void post('/nightly', 'job', 'staff').catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 1_000));
  }
}
