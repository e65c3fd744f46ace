/* sonde's few icons: 20 by 20, one line weight. Always beside words or with an accessible name on the button. */
const paths = {
  plus: "M10 4v12M4 10h12",
  mic: "M10 3a2.5 2.5 0 0 1 2.5 2.5v4a2.5 2.5 0 0 1-5 0v-4A2.5 2.5 0 0 1 10 3zM5 9.5a5 5 0 0 0 10 0M10 14.5V17",
  stop: "M6 6h8v8H6z",
  play: "M7 4.5v11l8.5-5.5z",
  pause: "M7 5v10M13 5v10",
  close: "M5.5 5.5l9 9M14.5 5.5l-9 9",
  retry: "M15.5 10a5.5 5.5 0 1 1-1.8-4.1M15.5 3.5v3.2h-3.2",
  copy: "M7.5 7.5h8v8h-8zM12.5 7.5v-3h-8v8h3",
  check: "M4.5 10.5l3.5 3.5 7.5-8",
  link: "M8.5 11.5l3-3M7.5 9l-2 2a2.5 2.5 0 0 0 3.5 3.5l2-2M12.5 11l2-2A2.5 2.5 0 0 0 11 5.5l-2 2",
  down: "M10 3.5v9M6.5 9.5L10 13l3.5-3.5M4 16h12",
  more: "M4.5 10h.01M10 10h.01M15.5 10h.01",
  trash: "M4 6h12M8 6V4h4v2M6 6l.7 10h6.6L14 6",
  print: "M6 8V3.5h8V8M6 14H4V8h12v6h-2M6.5 12h7v4.5h-7z",
  search: "M9 4a5 5 0 1 1 0 10A5 5 0 0 1 9 4zM12.7 12.7L16.5 16.5",
} as const;

export type IconName = keyof typeof paths;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg className="icon" viewBox="0 0 20 20" aria-hidden="true" focusable="false">
      <path d={paths[name]} />
    </svg>
  );
}
