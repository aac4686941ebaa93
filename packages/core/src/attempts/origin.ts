/** A response made anew says where the original came from: `new Response()` has no `url`, and its `type` is `default`. */
export function withOrigin(made: Response, { url, type, redirected }: Response): Response {
  return Object.defineProperties(made, {
    url: { value: url },
    type: { value: type },
    redirected: { value: redirected },
  });
}
