export interface FetchOptions extends RequestInit {
  timeoutMs?: number;
  retries?: number;
  retryDelayMs?: number;
}

export class TimeoutError extends Error {
  constructor(url: string, timeoutMs: number) {
    super(`${url} did not answer within ${timeoutMs} ms`);
    this.name = "TimeoutError";
  }
}

export class HttpError extends Error {
  constructor(
    readonly status: number,
    readonly body: string,
  ) {
    super(`The server answered with ${status}`);
    this.name = "HttpError";
  }
}

async function attempt(url: string, timeoutMs: number, init: RequestInit) {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(), timeoutMs);
  try {
    return await fetch(url, { ...init, signal: controller.signal });
  } catch (error) {
    if (error instanceof Error && error.name === "AbortError") throw new TimeoutError(url, timeoutMs);
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

export async function fetchWithTimeout(url: string, options: FetchOptions = {}) {
  const { timeoutMs = 10_000, retries = 2, retryDelayMs = 500, ...init } = options;
  for (let count = 0; ; count++) {
    try {
      const response = await attempt(url, timeoutMs, init);
      if (response.status >= 500 && count < retries) throw new HttpError(response.status, "");
      if (!response.ok) throw new HttpError(response.status, await response.text());
      return response;
    } catch (error) {
      if (count >= retries || (error instanceof HttpError && error.status < 500)) throw error;
      await new Promise((resolve) => setTimeout(resolve, retryDelayMs * 2 ** count));
    }
  }
}

export async function fetchJson<T>(url: string, options?: FetchOptions): Promise<T> {
  const response = await fetchWithTimeout(url, options);
  return (await response.json()) as T;
}
