// Package calendar finds the civil periods of a time zone: days, weeks and months. Redis
// knows no zones, so the scripts of calendar quotas get the periods from here and only
// pick one by the server's clock.
//
// A period is named by the date of its first day and never by its instant. Processes with
// other versions of the zone data then share a count, and differ only about when it ends.
package calendar
