// Questions to /api/v1: one live question per asker, errors in the server's own words.

/** What the server (or the network) said went wrong. */
export class ApiError extends Error {
  /**
   * @param {string} message what happened
   * @param {string} hint what to do; may be empty
   * @param {number} status HTTP status, 0 when there was no answer
   */
  constructor(message, hint, status) {
    super(message);
    this.hint = hint;
    this.status = status;
  }
}

/**
 * The URL of a route with its parameters; empty ones are left out.
 * @param {string} route e.g. "profile"
 * @param {Record<string, string|number>} parameters
 * @returns {string}
 */
export function urlFor(route, parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== '' && value !== undefined);
  const text = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return `/api/v1/${route}${text ? `?${text}` : ''}`;
}

/**
 * Ask and wait for the JSON answer.
 * @param {string} route
 * @param {Record<string, string|number>} parameters
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>} rejects with ApiError, or AbortError when `signal` fired
 */
export async function ask(route, parameters, signal) {
  return answerOf(fetch(urlFor(route, parameters), {signal, headers: {accept: 'application/json'}}));
}

async function answerOf(asked) {
  let response;
  try {
    response = await asked;
  } catch (failure) {
    if (failure.name === 'AbortError') throw failure;
    throw new ApiError('The server did not answer.', 'Check that fleetprof is still running, then load again.', 0);
  }
  if (response.status === 401 && location.pathname !== '/login') {
    location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
  }
  const body = await response.json().catch((failure) => {
    if (failure.name === 'AbortError') throw failure; // dropped while the answer was on its way
    return null;
  });
  if (response.ok && body !== null) return body;
  throw new ApiError(body?.error || `The server answered ${response.status}.`, body?.hint || '', response.status);
}

/**
 * Change something and wait for the JSON answer.
 * @param {"POST"|"DELETE"} method
 * @param {string} route e.g. "silences"
 * @param {object} [body]
 * @returns {Promise<any>} rejects with ApiError
 */
export async function send(method, route, body) {
  const headers = {accept: 'application/json', 'x-fleetprof': '1', ...(body ? {'content-type': 'application/json'} : {})};
  return answerOf(fetch(urlFor(route, {}), {method, headers, body: body && JSON.stringify(body)}));
}

/** Drops late answers: each new question of one asker aborts the one before. */
export class Latest {
  #controller = null;

  /** @returns {AbortSignal} for the next question; the previous one is aborted */
  next() {
    this.#controller?.abort();
    this.#controller = new AbortController();
    return this.#controller.signal;
  }

  /** Abort the question that is under way, if any. */
  cancel() {
    this.#controller?.abort();
  }
}

/**
 * @param {unknown} failure
 * @returns {boolean} true when it only says that the question was dropped
 */
export function isDropped(failure) {
  return failure instanceof DOMException && failure.name === 'AbortError';
}
