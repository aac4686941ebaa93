/** A calendar window, in milliseconds of the epoch: from its start, to and without its end. */
export interface Window {
  readonly start: number;
  readonly end: number;
}

const formats = new Map<string, Intl.DateTimeFormat>();

/** Making a format takes a tenth of a millisecond, so there is one per zone. */
function formatOf(timeZone: string): Intl.DateTimeFormat {
  let format = formats.get(timeZone);
  if (format === undefined) {
    format = new Intl.DateTimeFormat('en-US', {
      timeZone,
      calendar: 'iso8601',
      numberingSystem: 'latn',
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    });
    formats.set(timeZone, format);
  }
  return format;
}

interface LocalTime {
  readonly year: number;
  /** 1 to 12. */
  readonly month: number;
  readonly day: number;
  /** The local time of day as if it were UTC. */
  readonly asUtc: number;
}

function localTime(wall: number, timeZone: string): LocalTime {
  const parts: Record<string, number> = {};
  for (const { type, value } of formatOf(timeZone).formatToParts(wall)) parts[type] = Number(value);
  const { year = 1970, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = parts;
  return {
    year,
    month,
    day,
    asUtc: Date.UTC(year, month - 1, day, hour, minute, second),
  };
}

/**
 * The first instant of a local day. The zone's offset is looked up at the guess itself, and again at the instant that
 * this gives: once is not enough across a change of the clocks. Where midnight does not exist the day starts at the
 * first instant that does.
 */
function startOfDay(year: number, month: number, day: number, timeZone: string): number {
  const midnight = Date.UTC(year, month - 1, day);
  const offsetAt = (instant: number) =>
    localTime(instant, timeZone).asUtc - Math.floor(instant / 1000) * 1000;
  const first = midnight - offsetAt(midnight);
  const second = midnight - offsetAt(first);
  // On a day whose midnight is skipped the two disagree for ever; the later one is the first that exists.
  return offsetAt(second) === midnight - second ? second : Math.max(first, second);
}

/** The window last asked for, by unit and zone: nearly always it is the one asked for next, by another user. */
const latest = new Map<string, Window>();

/**
 * The day or month around an instant, in a time zone. A day has 23 or 25 hours when the clocks change. The same
 * question has the same answer.
 */
export function calendarWindow(wall: number, unit: 'day' | 'month', timeZone: string): Window {
  const key = `${unit} ${timeZone}`;
  let window = latest.get(key);
  if (window === undefined || wall < window.start || wall >= window.end) {
    window = findWindow(wall, unit, timeZone);
    latest.set(key, window);
  }
  return window;
}

function findWindow(wall: number, unit: 'day' | 'month', timeZone: string): Window {
  const { year, month, day } = localTime(wall, timeZone);
  if (unit === 'month') {
    return {
      start: startOfDay(year, month, 1, timeZone),
      end: startOfDay(month === 12 ? year + 1 : year, month === 12 ? 1 : month + 1, 1, timeZone),
    };
  }
  const next = new Date(Date.UTC(year, month - 1, day + 1));
  return {
    start: startOfDay(year, month, day, timeZone),
    end: startOfDay(next.getUTCFullYear(), next.getUTCMonth() + 1, next.getUTCDate(), timeZone),
  };
}
